"""The lab's ARM for the driver."""

from collections.abc import Iterator

import pytest

from azure_site import Site, furnished, running_site


@pytest.fixture(scope="session")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One ARM over HTTPS for all tests here."""
    with running_site(tmp_path_factory.mktemp("arm"), furnished(0)) as running:
        yield running


@pytest.fixture
def site(endpoint: Site) -> Site:
    """A VNet with a subnet and three VMs, no route table."""
    endpoint.reset(furnished(3))
    return endpoint

"""What all tests share: how hard Hypothesis tries, fixtures, the clean-up after a killed run."""

import os

import pytest
from hypothesis import HealthCheck, settings

import reaper
from cli_driver import Korat

#: Two busy cores are slow at times, and a whole cluster is much to draw; a law is about neither.
settings.register_profile(
    "dev",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
# The same examples each time, so that what passed once passes; "dev" looks for new ones.
settings.register_profile(
    "ci", settings.get_profile("dev"), max_examples=200, database=None, derandomize=True
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


@pytest.fixture
def korat(tmp_path, monkeypatch, capsys):
    """The program with an empty store."""
    return Korat(tmp_path, monkeypatch, capsys)


@pytest.fixture(scope="session")
def running_arm(tmp_path_factory):
    """One ARM over HTTPS for all tests that want one."""
    from azure_site import furnished, running_site  # noqa: PLC0415 - the SDK is slow to import

    with running_site(tmp_path_factory.mktemp("arm"), furnished(0)) as running:
        yield running


@pytest.fixture
def site(running_arm):
    """A VNet with a subnet and three VMs, no route table."""
    from azure_site import furnished  # noqa: PLC0415 - the SDK is slow to import

    running_arm.reset(furnished(3))
    return running_arm


@pytest.fixture(scope="session")
def etcd_server(tmp_path_factory):
    """One real etcd for all tests that want one; each takes a prefix of its own."""
    from etcd_world import running  # noqa: PLC0415 - few tests want it

    with running(tmp_path_factory.mktemp("etcd")) as world:
        yield world


def pytest_collection_finish(session: pytest.Session) -> None:
    """Tests with namespaces of their own are watched over from outside."""
    marked = any(item.get_closest_marker(m) for item in session.items for m in ("netns", "lab"))
    if marked and os.geteuid() == 0:
        session.config.stash[_REAPER] = reaper.start()


def pytest_unconfigure(config: pytest.Config) -> None:
    watcher = config.stash.get(_REAPER, None)
    if watcher is not None:
        watcher.communicate(timeout=120)


_REAPER = pytest.StashKey()

"""A node's intent: what of the store's objects reaches its kernel."""

from korat.agent.intent import intent
from korat.core.model.config import (
    ClusterInformation,
    FelixConfiguration,
    IPPool,
    IPPoolSpec,
)
from korat.core.model.label import AZURE_VNET
from korat.core.model.resource import Metadata


def made(*resources, **environ):
    return intent({resource.key: resource for resource in resources}, "vm1", environ)


def felix(**spec):
    return FelixConfiguration(metadata=Metadata(name="default"), spec=spec)


def cluster(prefixes):
    annotations = {AZURE_VNET: prefixes} if prefixes else {}
    return ClusterInformation(metadata=Metadata(name="default", annotations=annotations))


def test_a_setting_that_changes_changes_the_ruleset():
    before, after = made(felix()), made(felix(interfacePrefix="azv"))
    assert '"azv*"' not in before.ruleset.text
    assert '"azv*"' in after.ruleset.text
    assert '"cali*"' in after.ruleset.text, "korat's own interfaces stay guarded"
    assert made(felix()).ruleset == before.ruleset


def test_the_environment_wins_over_the_store():
    assert '"azv*"' in made(felix(), FELIX_INTERFACEPREFIX="azv").ruleset.text


def test_what_stays_in_the_vnet_keeps_its_address():
    pool = IPPool(
        metadata=Metadata(name="pods"), spec=IPPoolSpec(cidr="10.10.128.0/17", nat_outgoing=True)
    )
    assert "10.10.0.0/16" in made(pool, cluster("10.10.0.0/16")).ruleset.text
    assert "10.10.0.0/16" not in made(pool, cluster("")).ruleset.text

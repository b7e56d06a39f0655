"""What a lab is laid out like, and what is refused before anything is made."""

import pytest

from korat.core.errors import Invalid
from korat.lab.blueprint import MODES, STORES, Options, blueprint


def test_the_layout_is_azures():
    plan = blueprint(Options(nodes=3))
    assert [(vm.name, str(vm.address), str(vm.pod_cidr)) for vm in plan.vms] == [
        ("vm1", "10.10.0.4", "10.10.128.0/24"),
        ("vm2", "10.10.0.5", "10.10.129.0/24"),
        ("vm3", "10.10.0.6", "10.10.130.0/24"),
    ]
    assert all(plan.vnet.covers(vm.pod_cidr) for vm in plan.vms)
    assert not any(plan.subnet.overlaps(vm.pod_cidr) for vm in plan.vms)


def test_the_largest_lab_fits_the_defaults():
    assert len(blueprint(Options(nodes=100)).vms) == 100


def test_every_problem_is_told_at_once():
    options = Options("magic", 0, "stone", "ten", "10.9.0.0/24", "10.10.0.0/16")
    with pytest.raises(Invalid) as caught:
        blueprint(options)
    assert [p.field for p in caught.value.problems] == ["--mode", "--store", "--vnet", "--nodes"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (Options(cluster_cidr="10.11.0.0/16"), "must lie inside the virtual network 10.10.0.0/16"),
        (Options(cluster_cidr="10.10.0.0/17"), "overlaps the subnet 10.10.0.0/24"),
        (Options(subnet_cidr="10.11.0.0/24"), "must lie inside the virtual network"),
        (Options(nodes=12, subnet_cidr="10.10.0.0/28"), "has room for 11 virtual machines, not 12"),
        (Options(nodes=3, cluster_cidr="10.10.128.0/23"), "has no room for 3 pod subnets of /24"),
        (Options(nodes=1, cluster_cidr="10.10.128.0/25"), "has no room for 1 pod subnets of /24"),
        (Options(vnet_cidr="10.10.0.1/16"), "host bits are zero"),
        (
            Options("udr", 3, "sqlite", "127.0.0.0/8", "127.0.0.0/24", "127.1.0.0/16"),
            "Azure reserves",
        ),
        (Options(vnet_cidr="fd00::/48"), "must be IPv4"),
        *((Options(mode=mode), why) for mode, why in MODES.items() if why),
        *((Options(store=store), why) for store, why in STORES.items() if why),
    ],
)
def test_refused(options: Options, sentence: str):
    with pytest.raises(Invalid) as caught:
        blueprint(options)
    assert sentence in str(caught.value)
    assert len(caught.value.problems) == 1

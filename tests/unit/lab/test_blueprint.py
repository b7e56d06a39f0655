"""What a lab is laid out like, and what is refused before anything is made."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from korat.core.errors import Conflict, Invalid, NotFound
from korat.core.net.address import Addr
from korat.lab.blueprint import STORES, Options, blueprint, grown, without
from korat.lab.mode import AZURE_CNI, MODES, REFUSED


def test_the_layout_is_azures():
    plan = blueprint(Options(nodes=3))
    assert [(vm.name, str(vm.address), str(vm.pod_cidr)) for vm in plan.vms] == [
        ("vm1", "10.10.0.4", "10.10.128.0/24"),
        ("vm2", "10.10.0.5", "10.10.129.0/24"),
        ("vm3", "10.10.0.6", "10.10.130.0/24"),
    ]
    assert all(plan.vnet.covers(vm.pod_cidr) for vm in plan.vms)
    assert not any(plan.subnet.overlaps(vm.pod_cidr) for vm in plan.vms)


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
        *((Options(mode=mode), why) for mode, why in REFUSED.items()),
        (Options(beside="flanneld"), "--beside 'flanneld': is for other modes"),
        (Options(mode="flannel", beside="azure-vnet"), "must be one of: flanneld, mixed"),
        (Options(mode="flannel", nodes=11, subnet_cidr="10.10.0.0/28"), "room for 10 virtual"),
        (Options(mode="flannel", nodes=4, cluster_cidr="10.244.0.0/22"), "no room for 4 pod"),
        *((Options(store=store), why) for store, why in STORES.items() if why),
    ],
)
def test_refused(options: Options, sentence: str):
    with pytest.raises(Invalid) as caught:
        blueprint(options)
    assert sentence in str(caught.value)
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize("mode", MODES)
def test_the_largest_lab_fits_the_defaults_of_every_mode(mode: str):
    plan = blueprint(Options(mode=mode, nodes=100))
    every = [addr for vm in plan.vms for addr in (vm.address, *vm.pod_addresses)]
    assert len(set(every)) == len(every)


def test_flannels_etcd_is_on_a_machine_of_its_own():
    plan = blueprint(Options(mode="flannel"))
    assert (plan.etcd.name, str(plan.etcd.address)) == ("etcd", "10.10.0.254")
    assert str(plan.cluster) == "10.244.0.0/16"
    assert not plan.vnet.overlaps(plan.cluster)
    assert [vm.pod_cidr for vm in plan.vms] == [None] * 3
    assert blueprint(Options()).etcd is None


def names(plan) -> list[str]:
    return [vm.name for vm in plan.vms]


def test_new_nodes_take_the_lowest_numbers_that_are_free():
    plan = blueprint(Options(nodes=4))
    plan = without(without(plan, "vm1"), "vm3")
    assert names(plan) == ["vm2", "vm4"]
    assert names(grown(plan, 1)) == ["vm1", "vm2", "vm4"]
    assert names(grown(plan, 3)) == ["vm1", "vm2", "vm3", "vm4", "vm5"]


@given(st.lists(st.one_of(st.integers(1, 4), st.sampled_from([f"vm{i}" for i in range(1, 9)]))))
def test_a_number_always_has_the_same_addresses_however_nodes_come_and_go(steps):
    every = set(blueprint(Options(nodes=100)).vms)
    plan = blueprint(Options(nodes=2))
    for step in steps:
        before = plan
        try:
            plan = grown(plan, step) if isinstance(step, int) else without(plan, step)
        except (Conflict, Invalid, NotFound):
            continue
        change = step if isinstance(step, int) else -1
        assert len(plan.vms) == len(before.vms) + change
        assert len(set(before.vms) & set(plan.vms)) == min(len(before.vms), len(plan.vms))
        assert set(plan.vms) <= every
        assert [vm.address for vm in plan.vms] == sorted({vm.address for vm in plan.vms})


@pytest.mark.parametrize(
    ("options", "count", "sentence"),
    [
        (Options(nodes=10, subnet_cidr="10.10.0.0/28"), 2, "has room for 11 virtual machines, not"),
        (Options(nodes=2, cluster_cidr="10.10.128.0/23"), 1, "no room for 3 pod subnets of /24"),
        (Options(nodes=99), 2, "--count 2: a lab has at most 100 nodes, and this one has 99"),
        (Options(), 0, "--count 0: must be 1 or more"),
        (Options(), -1, "--count -1: must be 1 or more"),
    ],
)
def test_no_room_to_grow(options: Options, count: int, sentence: str):
    with pytest.raises(Invalid, match=sentence):
        grown(blueprint(options), count)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("vm33", "there is no node vm33; did you mean vm3?"),
        ("web", "there is no node web; the lab's nodes are vm1, vm2, vm3"),
        ("", "there is no node ; the lab's nodes are vm1, vm2, vm3"),
    ],
)
def test_an_unknown_node_is_told_with_what_there_is(name: str, sentence: str):
    with pytest.raises(NotFound) as caught:
        without(blueprint(Options()), name)
    assert str(caught.value) == sentence


def test_the_last_node_stays():
    with pytest.raises(Conflict, match=r"vm1 is the lab's only node; .* korat lab down"):
        without(blueprint(Options(nodes=1)), "vm1")


# --- Azure CNI: pods have secondary addresses of their node's NIC --------------------------------


def azure_cni(**options):
    return Options(mode=AZURE_CNI, **options)


def test_pods_have_addresses_of_the_nodes_subnet():
    plan = blueprint(azure_cni(nodes=2))
    assert (str(plan.subnet), plan.cluster, plan.routed) == ("10.10.0.0/20", plan.subnet, False)
    one, two = plan.vms
    assert (str(one.address), str(two.address)) == ("10.10.0.4", "10.10.0.5")
    assert [str(a) for a in (*one.pod_addresses[::15], *two.pod_addresses[::15])] == [
        *("10.10.1.0", "10.10.1.15"),
        *("10.10.1.16", "10.10.1.31"),
    ]
    assert (len(one.pod_addresses), one.pod_cidr) == (16, None)


def test_other_modes_have_no_secondary_addresses():
    plan = blueprint(Options(nic_addresses=30))
    assert plan.kept == range(0)
    assert not any(vm.pod_addresses for vm in plan.vms)


@pytest.mark.parametrize("start", [1, 100])
def test_no_address_is_two_nics_and_all_are_the_labs_own(start):
    plan = blueprint(azure_cni(nodes=start))
    if start == 1:
        plan = grown(without(grown(plan, 5), "vm3"), 7)
    every = [addr for vm in plan.vms for addr in (vm.address, *vm.pod_addresses)]
    assert len(set(every)) == len(every) == 17 * len(plan.vms)
    assert all(addr in plan.subnet and addr.value in plan.kept for addr in every)
    assert {plan.subnet.last, plan.subnet.first + 1}.isdisjoint(addr.value for addr in every)
    largest = set(blueprint(azure_cni(nodes=100)).vms)
    assert set(plan.vms) <= largest, "a number always has the same addresses"


def test_how_many_addresses_a_nic_has_is_an_option():
    plan = blueprint(azure_cni(nodes=2, nic_addresses=3, subnet_cidr="10.10.4.0/23"))
    assert plan.vms[1].pod_addresses == tuple(
        Addr.parse(text) for text in ("10.10.5.3", "10.10.5.4", "10.10.5.5")
    )


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"nodes": 16, "subnet_cidr": "10.10.0.0/23"},
            "has room for 15 virtual machines with 16 addresses for pods, not 16",
        ),
        ({"subnet_cidr": "10.10.0.0/24"}, "has room for 0 virtual machines with 16 addresses"),
        ({"cluster_cidr": "10.10.128.0/17"}, "it must be the subnet 10.10.0.0/20"),
        ({"nic_addresses": 256}, "--nic-addresses 256: must be 1 to 255"),
        ({"nic_addresses": 0}, "--nic-addresses 0: must be 1 to 255"),
    ],
)
def test_what_azure_cni_has_no_room_for(options, sentence):
    with pytest.raises(Invalid) as caught:
        blueprint(azure_cni(**options))
    assert sentence in str(caught.value)
    assert len(caught.value.problems) == 1


def test_the_subnet_may_be_named_as_the_pods_range():
    plan = blueprint(azure_cni(cluster_cidr="10.10.0.0/20"))
    assert plan.cluster == plan.subnet
    full = blueprint(azure_cni(nodes=15, subnet_cidr="10.10.0.0/23"))
    with pytest.raises(Invalid, match="has room for 15 virtual machines with 16 addresses"):
        grown(full, 1)

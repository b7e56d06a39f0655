"""Making, changing, repairing and removing a fabric: what is there is what the view says."""

import subprocess
import sys
from dataclasses import replace

import pytest
from pyroute2 import IPRoute

from fabric_wire import NODES, UDP, delivered, lab_name, network, nic, user_route, wires
from korat.core.errors import NotFound
from korat.core.net.address import Addr
from korat.core.route.effective import NextHop
from korat.drivers.kernel import namespace, sysctl
from korat.lab.arm.view import NetworkView
from korat.lab.fabric.apply import Fabric
from korat.lab.fabric.model import Packet
from korat.lab.fabric.topology import sweep

pytestmark = pytest.mark.netns

PODS = tuple(
    user_route(f"10.10.{127 + n}.0/24", NextHop.VIRTUAL_APPLIANCE, f"10.10.0.{3 + n}")
    for n in (1, 2, 3)
)
TO_VM2 = Packet(Addr.parse("10.10.0.4"), Addr.parse("10.10.0.5"), UDP)
EMPTY = NetworkView((), (), ())


@pytest.fixture
def fabric():
    with Fabric(lab_name()) as made:
        yield made


def kernel_state(fabric) -> str:
    """All that the fabric's namespace holds, as the system's own tools print it."""
    commands = ("ip -d link", "ip route show table all", "ip rule", "ip neigh show nud permanent")
    return "\n".join(run(fabric.names.fabric, *command.split()) for command in commands)


def run(netns, *argv) -> str:
    return namespace.run_in(
        netns, lambda: subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    )


def link(fabric, verb, **what):
    """Change a cable by hand."""

    def change():
        with IPRoute() as ip:
            (index,) = ip.link_lookup(ifname="vm1-nic")
            ip.link(verb, index=index, **what)

    namespace.run_in(fabric.names.fabric, change)


def works(fabric, view) -> bool:
    with wires(fabric, view) as opened:
        return delivered(opened, "vm1-nic", [TO_VM2]) == ["vm2-nic"]


def test_a_vm_is_set_up_as_azure_sets_one_up(fabric):
    fabric.apply(network())
    vm = fabric.names.vm("vm1")
    assert "inet 10.10.0.4/24 scope global eth0" in run(vm, "ip", "address", "show", "eth0")
    assert run(vm, "ip", "-4", "route").splitlines()[0].startswith("default via 10.10.0.1 dev eth0")
    shown = run(vm, "ip", "link", "show", "eth0")
    assert "mtu 1500" in shown
    assert "link/ether 00:0d:3a:00:00:01" in shown
    assert sysctl.read("net/ipv4/ip_forward", vm) == "1"


def test_a_vm_whose_power_was_cut_is_made_anew_and_knows_nothing(fabric):
    view = network()
    fabric.apply(view)
    vm, before = fabric.names.vm("vm1"), kernel_state(fabric)
    run(vm, "nft", "add", "table", "inet", "korat")
    run(vm, "ip", "route", "add", "10.99.0.0/16", "dev", "lo")
    fabric.power_off("vm1")
    assert not namespace.exists(vm)
    assert namespace.exists(fabric.names.vm("vm2"))
    fabric.apply(view)
    assert run(vm, "nft", "list", "ruleset") == ""
    assert "10.99" not in run(vm, "ip", "route")
    assert "inet 10.10.0.4/24" in run(vm, "ip", "address", "show", "eth0")
    assert len(kernel_state(fabric).splitlines()) == len(before.splitlines())
    assert works(fabric, view)
    fabric.power_off("vm9")


def test_a_vm_with_two_nics_prefers_its_first(fabric):
    view = network(2)
    fabric.apply(replace(view, nics=(view.nics[0], replace(view.nics[1], vm="vm1"))))
    routes = run(fabric.names.vm("vm1"), "ip", "-4", "route", "show", "default").splitlines()
    assert [line.split()[4] for line in routes] == ["eth0", "eth1"]


def test_applying_the_same_view_again_changes_nothing(fabric):
    fabric.apply(network(table=PODS))
    before = kernel_state(fabric)
    fabric.apply(network(table=PODS))
    assert kernel_state(fabric) == before


def test_the_way_to_a_view_leaves_no_trace(fabric):
    straight = network(table=PODS)
    fabric.apply(straight)
    before = kernel_state(fabric)
    two = replace(straight.nics[0], addresses=(TO_VM2.src, Addr.parse("10.10.0.40")))
    more = replace(straight, nics=(two, *straight.nics[1:]))
    fewer = network(table=PODS[1:])
    for view in (network(5, PODS), fewer, network(table=PODS, off=(1, 3)), more):
        fabric.apply(view)
        fabric.apply(straight)
        assert kernel_state(fabric) == before, view


def test_another_process_may_go_on(fabric):
    fabric.apply(network())
    view = network(table=PODS)
    Fabric(fabric.names.lab).apply(view)
    assert works(fabric, view)


@pytest.mark.parametrize(
    "harm",
    [
        pytest.param(lambda fabric: link(fabric, "del"), id="a-cable-is-gone"),
        pytest.param(lambda fabric: link(fabric, "set", ifalias=""), id="a-cable-half-made"),
        pytest.param(
            lambda fabric: run(
                fabric.names.fabric, "ip", "route", "flush", "table", str(NODES.base)
            ),
            id="routes-are-gone",
        ),
        pytest.param(lambda fabric: run(fabric.names.fabric, "ip", "rule", "flush"), id="no-rules"),
        pytest.param(
            lambda fabric: run(fabric.names.fabric, "ip", "neigh", "flush", "nud", "permanent"),
            id="no-neighbours",
        ),
        pytest.param(
            lambda fabric: run(fabric.names.fabric, "nft", "delete table ip fabric"), id="no-table"
        ),
    ],
)
def test_the_next_apply_repairs_what_is_broken(fabric, harm):
    view = network(table=PODS)
    fabric.apply(view)
    before = fabric_without_counters(fabric)
    harm(fabric)
    fabric.apply(view)
    assert works(fabric, view)
    assert fabric_without_counters(fabric) == before


def fabric_without_counters(fabric) -> list[str]:
    """The rules, routes and sets of the fabric; a cable's number may change when it is remade."""
    shown = run(fabric.names.fabric, "ip", "route", "show", "table", "all")
    ruleset = run(fabric.names.fabric, "nft", "-s", "list", "table", "ip", "fabric")
    return [*sorted(shown.splitlines()), *ruleset.splitlines()]


def test_a_vm_that_leaves_takes_its_namespace_with_it(fabric):
    fabric.apply(network(2))
    assert namespace.exists(fabric.names.vm("vm2"))
    fabric.apply(network(1))
    assert not namespace.exists(fabric.names.vm("vm2"))
    assert namespace.exists(fabric.names.vm("vm1"))


def test_a_nic_may_change_its_address(fabric):
    view = network(2)
    fabric.apply(view)
    moved = replace(view.nics[1], addresses=(Addr.parse("10.10.0.77"),))
    view = replace(view, nics=(view.nics[0], moved))
    fabric.apply(view)
    to_new = replace(TO_VM2, dst=Addr.parse("10.10.0.77"))
    with wires(fabric, view) as opened:
        assert delivered(opened, "vm1-nic", [TO_VM2, to_new]) == [None, "vm2-nic"]


def test_a_long_nic_name_gets_an_interface_too(fabric):
    view = network(2)
    long = replace(view.nics[1], name="a-network-interface-of-a-virtual-machine")
    view = replace(view, nics=(view.nics[0], long))
    fabric.apply(view)
    with wires(fabric, view) as opened:
        assert delivered(opened, "vm1-nic", [TO_VM2]) == [long.name]


def test_a_nic_without_an_ipv4_address_is_left_out(fabric):
    six = nic(2, (), addresses=(Addr.parse("fd00::5"),))
    fabric.apply(replace(network(1), nics=(network(1).nics[0], six)))
    assert not namespace.exists(fabric.names.vm("vm2"))


def test_close_leaves_nothing():
    fabric = Fabric(lab_name())
    fabric.build()
    fabric.apply(network())
    fabric.close()
    assert namespace.names(fabric.names.prefix) == ()
    fabric.close()


def test_without_a_fabric_apply_says_so():
    with pytest.raises(NotFound, match="fabric does not exist"):
        Fabric(lab_name()).apply(EMPTY)


def test_a_killed_maker_is_swept_up_and_the_next_one_builds():
    lab = lab_name()
    script = f"""
import os
from fabric_wire import network
from korat.lab.fabric.apply import Fabric
fabric = Fabric({lab!r})
fabric.build()
fabric.apply(network())
os.kill(os.getpid(), 9)
"""
    try:
        done = subprocess.run([sys.executable, "-c", script], check=False, cwd=_TESTS)
        assert done.returncode == -9
        assert len(namespace.names(f"korat-{lab}-")) == 5
        with Fabric(lab) as again:
            again.apply(network())
            assert works(again, network())
    finally:
        sweep(lab)
    assert namespace.names(f"korat-{lab}-") == ()


def test_sweeping_a_lab_spares_one_whose_name_goes_on():
    lab = lab_name()
    with Fabric(lab) as short, Fabric(f"{lab}-2") as longer:
        longer.apply(network(1))
        short.close()
        assert namespace.names(short.names.prefix) == namespace.names(longer.names.prefix)
        assert namespace.exists(longer.names.vm("vm1"))


def test_a_half_made_namespace_is_swept_and_taken_over():
    lab = lab_name()
    (namespace.RUN_DIR / f"korat-{lab}-fabric").touch()
    with Fabric(lab) as fabric:
        assert namespace.exists(fabric.names.fabric)


def test_vms_may_leave_and_come_back(fabric):
    view = network(2)
    fabric.apply(view)
    fabric.apply(EMPTY)
    fabric.apply(view)
    assert works(fabric, view)


_TESTS = __file__.rsplit("/", 2)[0]

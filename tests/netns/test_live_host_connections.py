"""Live connections of a node itself under host policy that changes: real sockets, the real loop."""

import contextlib
from contextlib import ExitStack

import pytest

from korat.core.net.address import Addr
from korat.drivers.kernel import namespace
from korat.drivers.kernel.route_lookup import interface_toward
from live_world import HERE, ONE, OUT, TWO, Talk, World, settings
from policy_world import allow, host, pod, policy, who

pytestmark = pytest.mark.netns

both_families = pytest.mark.parametrize("family", [4, 6])
both_kinds = pytest.mark.parametrize("kind", ["tcp", "udp"])
GUARD = "reply of a cut connection"
ETH0 = host("eth0", role="host")


@pytest.fixture(scope="module")
def built():
    with ExitStack() as stack:
        yield World(stack)


@pytest.fixture
def world(built):
    every = [Addr.parse(a) for each in (ONE, TWO, OUT, HERE) for a in each.values()]
    built.enforce()
    built.tracked.forget(every)
    built.nft.apply("flush set inet korat cut-4\nflush set inet korat cut-6\n")
    return built


def on_ports(*ports):
    return [allow(protocol=p, destination=who(ports=list(ports))) for p in ("TCP", "UDP") if ports]


def normal(ingress=(), egress=(), **fields):
    """What the node itself may take and send; neighbours are always found."""
    found = allow(protocol="ICMPv6")
    rules = {
        "ingress": [found, *on_ports(*ingress)],
        "egress": [found, *on_ports(*egress)],
    }
    return policy("hosts", namespace="", selector="role == 'host'", **rules, **fields)


@both_families
@both_kinds
@pytest.mark.parametrize("outward", [False, True], ids=["to the node", "from the node"])
def test_what_normal_policy_denies_now_is_cut_and_stays_cut(world, family, kind, outward):
    ends = ("node", "out") if outward else ("out", "node")
    world.enforce(ETH0, normal((), (8080,)) if outward else normal((8080,)))
    with Talk(world, kind, family, *ends) as talk:
        # The other way everything is allowed, so that only the guard holds up what comes by it.
        way = "ingress" if outward else "egress"
        fields = {way: [allow()], "types": (way.capitalize(),)}
        other = policy("other", namespace="", selector="role == 'host'", **fields)
        assert world.enforce(ETH0, other, normal()).cut == 1
        assert not heard(talk.ask)
        held = world.dropped(GUARD)
        assert not heard(talk.answer)
        assert world.dropped(GUARD) == held + 1
        assert not heard(talk.ask)
        assert world.entries(OUT[family]) == []


def heard(say):
    """Whether it arrives; of what its own node drops a sender of UDP is told."""
    with contextlib.suppress(PermissionError):
        return say()
    return False


@both_families
@both_kinds
def test_what_host_policy_still_allows_and_failsafe_ports_do_not_notice(world, family, kind):
    world.enforce(ETH0, normal(ingress=(8080, 8081)))
    safe = {"tcp": 22, "udp": 68}[kind]
    with (
        Talk(world, kind, family, "out", "node") as kept,
        Talk(world, kind, family, "out", "node", port=8081) as lost,
        Talk(world, kind, family, "out", "node", port=safe) as shell,
    ):
        looked = world.enforce(ETH0, normal(ingress=(8080,)))
        assert (looked.judged, looked.cut) == (3, 1)
        assert kept.works()
        assert shell.works()
        assert not heard(lost.ask)
        # The same in other words is no reason to look.
        assert world.enforce(ETH0, normal(ingress=(8080,))).judged == 0


@both_families
@both_kinds
def test_a_host_endpoint_that_comes_closes_what_was_open(world, family, kind):
    with Talk(world, kind, family, "out", "node") as talk:
        assert world.enforce(normal()).judged == 0, "nothing governs the node"
        assert world.enforce(ETH0, normal()).cut == 1
        assert not heard(talk.ask)


@both_families
@both_kinds
def test_what_apply_on_forward_policy_denies_now_is_cut(world, family, kind):
    def forward(*ports):
        return normal(ports, (1,), apply_on_forward=True)

    world.enforce(ETH0, forward(8080, 8081))
    with (
        Talk(world, kind, family, "out", "two") as kept,
        Talk(world, kind, family, "out", "two", port=8081) as lost,
        Talk(world, kind, family, "one", "two", port=8082) as inside,
    ):
        assert world.enforce(ETH0, forward(8080)).cut == 1
        assert kept.works()
        assert inside.works()
        assert not lost.ask()
        assert not lost.answer()
        assert not lost.ask()


@both_families
@both_kinds
def test_what_the_other_interface_carries_is_judged_by_its_own_host_endpoint(world, family, kind):
    """The star closes what is no other's; eth0 has one of its own, that is open."""
    opened = host("eth0", role="open", profiles=("projectcalico-default-allow",))
    star = host("*", name="star", profiles=("projectcalico-default-allow",))
    world.enforce(opened, star)
    with Talk(world, kind, family, "out", "node") as talk:
        assert world.enforce(opened, host("*", name="star")).cut == 0
        assert talk.works()


@both_families
@both_kinds
def test_switched_off_connections_of_hosts_live_on(world, family, kind):
    off = settings(koratRejudgeConnections="Disabled")
    world.enforce(ETH0, normal(ingress=(8080,)), off)
    with Talk(world, kind, family, "out", "node") as talk:
        assert world.enforce(ETH0, normal(), off).cut == 0
        assert talk.works()
        assert world.enforce(ETH0, normal()).cut == 1
        assert not heard(talk.ask)


@both_families
@both_kinds
def test_who_is_no_longer_among_those_that_policy_allows_is_cut_alone(world, family, kind):
    """Others' connections are not even looked at; nor is anybody's for who is asked nowhere."""

    def far(app):
        return pod("far", *OUT.values(), node="there", app=app)

    from_far = [allow(protocol="ICMPv6"), allow(who(selector="app == 'far'"))]
    rules = policy("hosts", namespace="", selector="role == 'host'", ingress=from_far)
    world.enforce(ETH0, rules, far("far"))
    with (
        Talk(world, kind, family, "out", "node") as lost,
        Talk(world, kind, family, "node", "two", port=8081) as kept,
    ):
        stranger = pod("stranger", "10.9.9.9", node="there", app="z")
        assert world.enforce(ETH0, rules, far("far"), stranger).judged == 0
        looked = world.enforce(ETH0, rules, far("near"), stranger)
        assert (looked.judged, looked.cut) == (1, 1)
        assert not heard(lost.ask)
        assert kept.works()


@both_families
def test_the_kernel_says_by_which_interface_it_sends(world, family):
    def ask(addr, own=None):
        made = Addr.parse(own) if own else None
        return namespace.run_in(
            world.name("node"), lambda: interface_toward(Addr.parse(addr), made)
        )

    assert ask(OUT[family]) == "eth0"
    assert ask(OUT[family], HERE[family]) == "eth0"
    assert ask(TWO[family]) == "cali-2"
    assert ask(HERE[family]) is None, "that is the node itself"

"""Live connections under a policy that changes: real sockets, the real loop, both IP versions."""

import contextlib
import socket
import struct
from contextlib import ExitStack

import pytest

from korat.core.model.policy import Icmp
from korat.core.net.address import Addr
from korat.core.render.nft.cut import QUIET_S, read_cuts
from korat.drivers.kernel import namespace
from live_world import ONE, SERVICE, TWO, Talk, World, settings
from policy_world import allow, policy, who

pytestmark = pytest.mark.netns

both_families = pytest.mark.parametrize("family", [4, 6])
both_kinds = pytest.mark.parametrize("kind", ["tcp", "udp"])
GUARD = "reply of a cut connection"


def to_two(*ports):
    """Pod two is reached at these ports only."""
    rules = [
        allow(protocol=protocol, destination=who(ports=list(ports)))
        for protocol in ("TCP", "UDP")
        if ports
    ]
    return policy("to-two", selector="app == 'y'", types=("Ingress",), ingress=rules)


def from_one(*ports):
    """Pod one reaches these ports only."""
    rules = [
        allow(protocol=protocol, destination=who(ports=list(ports)))
        for protocol in ("TCP", "UDP")
        if ports
    ]
    return policy("from-one", selector="app == 'x'", types=("Egress",), egress=rules)


def icmp(kind):
    return Icmp(type=kind, code=0)


def ping(world, family):
    """Whether pod two answers pod one's ping; always the same one to connection tracking."""
    protocol, kind, answer = {4: (1, 8, 0), 6: (58, 128, 129)}[family]
    af = {4: socket.AF_INET, 6: socket.AF_INET6}[family]
    body = struct.pack("!BBHHH", kind, 0, 0, 7, 1) + b"ping"
    if family == 4:  # The kernel fills in the checksum of ICMPv6 alone.
        words = sum(struct.unpack("!6H", body))
        body = body[:2] + struct.pack("!H", ~(words + (words >> 16)) & 0xFFFF) + body[4:]
    with namespace.socket_in(world.name("one"), af, socket.SOCK_RAW, protocol) as sock:
        sock.setblocking(False)
        sock.sendto(body, (TWO[family], 0))
        while True:
            try:
                got = sock.recv(128)
            except BlockingIOError:
                return False
            if got.endswith(b"ping") and got[20 if family == 4 else 0] == answer:
                return True


@pytest.fixture(scope="module")
def built():
    with ExitStack() as stack:
        yield World(stack)


@pytest.fixture
def world(built):
    every = [Addr.parse(a) for each in (ONE, TWO) for a in each.values()]
    built.enforce()
    built.tracked.forget(every)
    built.nft.apply("flush set inet korat cut-4\nflush set inet korat cut-6\n")
    return built


@both_families
@both_kinds
@pytest.mark.parametrize(
    ("client", "server", "rules"),
    [
        ("one", "two", to_two),
        ("one", "two", from_one),
        ("out", "two", to_two),
        ("one", "out", from_one),
    ],
    ids=["ingress here", "egress here", "from elsewhere", "to elsewhere"],
)
def test_what_policy_denies_now_is_cut_and_stays_cut(world, family, kind, client, server, rules):
    world.enforce(rules(8080))
    with Talk(world, kind, family, client, server) as talk:
        assert world.enforce(rules(81)).cut == 1
        assert world.entries(ONE[family], TWO[family]) == []
        assert not talk.ask()
        # Nor does the server's end bring it back.
        held = world.dropped(GUARD)
        assert not talk.answer()
        assert world.dropped(GUARD) == held + 1
        assert not talk.ask()
        assert not talk.answer()
        assert world.entries(ONE[family], TWO[family]) == []


@both_families
@both_kinds
def test_without_the_guard_the_servers_next_packet_would_bring_it_back(world, family, kind):
    """The trap is real: what the test before shows is the guard's doing."""
    world.enforce(settings(koratRejudgeConnections="Disabled"), to_two(8080))
    with Talk(world, kind, family, "one", "two") as talk:
        world.enforce(settings(koratRejudgeConnections="Disabled"), to_two())
        ends = [Addr.parse(ONE[family])]
        assert world.tracked.forget(ends) == 1
        assert not talk.ask()
        assert talk.answer()
        talk.client.send(b"hello")
        # TCP repeats what was lost before, in its own time.
        assert talk.server.recv(16).startswith(b"hello")


@both_families
@both_kinds
def test_what_policy_still_allows_does_not_notice(world, family, kind):
    world.enforce(to_two(8080, 8081))
    with (
        Talk(world, kind, family, "one", "two") as kept,
        Talk(world, kind, family, "one", "two", port=8081) as lost,
    ):
        handles = {entry.handle for entry in world.entries(TWO[family])}
        assert len(handles) == 2
        looked = world.enforce(to_two(8080))
        assert (looked.judged, looked.cut) == (2, 1)
        (entry,) = world.entries(TWO[family])
        assert entry.handle in handles
        assert entry.connection.reply.a == 8080
        assert kept.works()
        assert not lost.answer()
        # A policy that says the same in other words is not even a reason to look.
        assert world.enforce(to_two(8080), to_two(8080)).cut == 0
        assert kept.works()


@both_families
@both_kinds
def test_a_translated_connection_is_judged_by_where_it_really_goes(world, family, kind):
    world.enforce(to_two(8080, 8081), from_one(8080, 8081))
    reach = {"to": SERVICE[family]}
    with (
        Talk(world, kind, family, "one", "two", **reach) as kept,
        Talk(world, kind, family, "one", "two", port=8081, **reach) as lost,
    ):
        # To the service's own address nothing is allowed.
        nets = [f"{TWO[family]}/{32 if family == 4 else 128}"]
        rules = [
            allow(protocol=p, destination=who(nets=nets, ports=[8080])) for p in ("TCP", "UDP")
        ]
        narrow = policy("n", selector="app == 'x'", types=("Egress",), egress=rules)
        assert world.enforce(narrow).cut == 1
        assert kept.works()
        assert not lost.ask()
        assert not lost.answer()
        assert not lost.ask()


@both_families
def test_a_ping_is_cut_too(world, family):
    numbers = {4: ("ICMP", 8), 6: ("ICMPv6", 128)}
    protocol, kind = numbers[family]
    pinged = policy(
        "ping",
        selector="app == 'y'",
        types=("Ingress",),
        ingress=[allow(protocol=protocol, icmp=icmp(kind))],
    )
    world.enforce(pinged)
    assert ping(world, family)
    assert len(world.entries(TWO[family])) == 1
    assert (
        world.enforce(pinged, policy("other", selector="app == 'x'", types=("Ingress",))).cut == 0
    )
    assert world.enforce(to_two()).cut == 1
    assert world.entries(TWO[family]) == []
    assert not ping(world, family)


@both_families
@both_kinds
def test_switched_off_connections_live_on_as_calicos_do(world, family, kind):
    off = settings(koratRejudgeConnections="Disabled")
    world.enforce(to_two(8080), off)
    with Talk(world, kind, family, "one", "two") as talk:
        assert world.enforce(to_two(), off).cut == 0
        assert talk.works()
        assert not any("cut" in str(each) for each in world.nft.list_json())
        # Switched on, it finds what came to be against policy meanwhile.
        assert world.enforce(to_two()).cut == 1
        assert not talk.ask()


@both_families
@both_kinds
def test_the_node_reaches_its_pods_whatever_their_policy(world, family, kind):
    world.enforce(to_two(8080))
    with Talk(world, kind, family, "node", "two") as talk:
        assert world.enforce(to_two()).cut == 0
        assert talk.works()


@both_families
@both_kinds
def test_from_a_pod_to_its_node_egress_policy_counts(world, family, kind):
    open_ = settings(defaultEndpointToHostAction="Accept")
    world.enforce(from_one(8080), open_)
    with Talk(world, kind, family, "one", "node") as talk:
        assert world.enforce(from_one(), open_).cut == 1
        assert not talk.ask()
        with contextlib.suppress(PermissionError):  # UDP hears of what is dropped on its way out.
            assert not talk.answer()
        assert not talk.ask()
        assert world.entries(ONE[family]) == []


@both_families
@both_kinds
def test_a_client_may_come_again_with_the_same_ports_once_it_is_allowed(world, family, kind):
    world.enforce(to_two(8080))
    with Talk(world, kind, family, "one", "two") as talk:
        assert world.enforce(to_two()).cut == 1
        assert not talk.answer()
        port = talk.own_port
    world.enforce(to_two(8080))
    with Talk(world, kind, family, "one", "two", own=port) as again:
        assert again.works()


@both_families
def test_a_tcp_connection_the_other_way_between_the_same_ports_is_policys_matter(world, family):
    world.enforce(to_two(8080))
    with Talk(world, "tcp", family, "one", "two") as talk:
        assert world.enforce(to_two()).cut == 1
        port = talk.own_port
    with Talk(world, "tcp", family, "two", "one", port=port, own=8080) as other:
        assert other.works()


@both_kinds
@pytest.mark.parametrize("restarted", [False, True], ids=["the same agent", "another agent"])
def test_what_was_cut_stays_cut_when_the_whole_table_is_loaded_again(world, kind, restarted):
    world.enforce(to_two(8080))
    with Talk(world, kind, 4, "one", "two") as talk:
        assert world.enforce(to_two()).cut == 1
        world.nft.apply("add chain inet korat stranger\n")
        if restarted:
            world.stop()
            world.start()
        world.loop.refresh(reload=True)
        world.enforce(to_two())
        assert "stranger" not in str(world.nft.list_json())
        assert not talk.answer()
        assert not talk.ask()


@both_kinds
def test_what_was_cut_stays_cut_when_somebody_flushes_everything(world, kind):
    world.enforce(to_two(8080))
    with Talk(world, kind, 4, "one", "two") as talk:
        assert world.enforce(to_two()).cut == 1
        world.nft.apply("delete table inet korat\n")
        world.loop.refresh(reload=True)
        world.enforce(to_two())
        assert not talk.answer()
        assert not talk.ask()
        assert world.entries(ONE[4]) == []


@both_families
def test_udp_is_held_up_for_as_long_as_it_goes_on_and_tcp_as_long_as_conntrack_would(world, family):
    name = f"cut-{family}"
    ends = f"{TWO[family]} . {ONE[family]}"
    world.nft.apply(f"add element inet korat {name} {{ {ends} . 17 . 9 . 9999 timeout 30s }}\n")
    with world.socket("two", "udp", family, 9) as sock:
        sock.sendto(b"hello", (ONE[family], 9999))
    assert world.entries(ONE[family]) == []
    (left_s,) = read_cuts(world.nft.elements(name)).values()
    assert 30 < left_s <= QUIET_S
    world.enforce(to_two(8080))
    with Talk(world, "tcp", family, "one", "two") as talk:
        world.enforce(to_two())
        assert not talk.answer()
    by_protocol = {key[2]: left_s for key, left_s in read_cuts(world.nft.elements(name)).items()}
    assert by_protocol[6] > 1000


@both_families
@both_kinds
def test_an_agent_that_was_away_catches_up(world, family, kind):
    world.enforce(to_two(8080))
    with Talk(world, kind, family, "one", "two") as talk:
        world.stop()
        assert talk.works()
        world.start()
        assert world.enforce(to_two()).cut == 1
        assert not talk.ask()
        assert not talk.answer()

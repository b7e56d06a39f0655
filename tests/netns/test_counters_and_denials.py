"""Counters and the deny log with real packets: who is counted, who is told of, what is lost.

One router (see ``nft_wire``) without connection tracking, so that every packet is judged.
"""

import queue
from contextlib import contextmanager

import pytest
import structlog
from msgspec.structs import replace

from korat.agent.intent import intent
from korat.agent.observe import Observer
from korat.core.errors import Conflict
from korat.core.model.config import FelixConfiguration
from korat.core.model.kubernetes.manifest import convert
from korat.core.model.resource import Metadata
from korat.core.net.address import Addr
from korat.core.net.header import Header, read_header
from korat.core.policy.outcome import Direction, RuleRef
from korat.core.render.nft.diff import stages
from korat.core.render.nft.outcome import counter_name
from korat.drivers.kernel import namespace
from korat.drivers.kernel.nflog import Nflog
from korat.drivers.tally import ask
from nft_wire import Probe, packed, routers
from policy_world import NODE, allow, deny, open_namespace, pod, policy, rule, tier, who

pytestmark = pytest.mark.netns

ONE, TWO = Addr.parse("10.0.0.1"), Addr.parse("10.0.0.2")
SIX_TWO = Addr.parse("fd00::2")
STRANGER, SIX_STRANGER = Addr.parse("203.0.113.9"), Addr.parse("2001:db8::9")
IN = ("Ingress",)


def workload(number, **fields):
    made = pod(f"w{number}", f"10.0.0.{number}/32", f"fd00::{number}/128", **fields)
    return replace(made, spec=replace(made.spec, interface_name=f"cali{number}"))


PAIR = (open_namespace("red"), workload(1, app="x"), workload(2, app="y"))


def enforce(*objects, **felix):
    """What the node should hold."""
    settings = FelixConfiguration(metadata=Metadata(name="default"), spec=felix)
    return intent({each.key: each for each in (*PAIR, *objects, settings)}, NODE, {})


def to_two(*ingress, name="p", **spec):
    return policy(name, ingress=ingress, selector="app == 'y'", types=IN, **spec)


@pytest.fixture(scope="module")
def router():
    with routers("deny") as made:
        made.route({ONE: "cali1", TWO: "cali2", SIX_TWO: "cali2"})
        yield made


@pytest.fixture
def lines():
    """A queue of all that is logged meanwhile."""
    found = queue.Queue()

    def keep(_logger, _method, event):
        found.put(event)
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(processors=[keep])
    yield found
    structlog.configure(**before)


@contextmanager
def listener(router, group, **fields):
    made = namespace.run_in(router._inner, lambda: Nflog(group, **fields))
    try:
        yield made
    finally:
        made.close()


@contextmanager
def observer(router, folder, enforced):
    """The agent's observer in the router's namespace."""

    def begin():
        made = Observer("vm1", folder, enforced)
        made.start()
        made.ring()
        return made

    made = namespace.run_in(router._inner, begin)
    try:
        yield made
    finally:
        made.close()


def drained(heard):
    """All that a listener gets until nothing has come for a while."""
    found = []
    while more := heard.read(0.5):
        found += more
    return found


def tcp(iif, src, dst, port, times=1):
    return [Probe(iif, src, dst, 6, 40000, port)] * times


def test_a_counter_lives_as_long_as_its_rule_whatever_chains_come_and_go(router):
    own = to_two(allow(protocol="TCP", destination=who(ports=[80])))
    ref = RuleRef.rule(Direction.INGRESS, "default", own.key, 0)
    first, between, last = (
        enforce(own).ruleset,
        enforce(own, to_two(rule("Log"), order=1.0, name="before")).ruleset,
        enforce(to_two(allow(), name="other")).ruleset,
    )
    assert first.chains != between.chains
    router.nft.apply(first.text)
    for old, new, sent, packets in ((first, first, 3, 3), (first, between, 2, 5)):
        for stage in stages(old, new):
            router.nft.apply(stage)
        router.send(tcp("eth0", STRANGER, TWO, 80, sent))
        count = router.counters()[counter_name(ref)]
        assert count == (packets, packets * len(packed(tcp("eth0", STRANGER, TWO, 80)[0], 0)))
    for stage in stages(between, last):
        router.nft.apply(stage)
    assert counter_name(ref) not in router.counters()


BEGINS = {"event": "the deny log begins", "group": 1}
DENIED = {
    "a rule": (
        [to_two(allow(protocol="UDP"), deny(protocol="TCP"))],
        {"tier": "default", "kind": "NetworkPolicy", "namespace": "red", "name": "p", "rule": "1"},
    ),
    "a tier's default": (
        [tier("ops", 1.0), to_two(allow(protocol="UDP"), tier="ops")],
        {"tier": "ops", "kind": "Tier", "namespace": "", "name": "ops", "rule": "default"},
    ),
    "a Kubernetes policy, by the default of its tier": (
        convert(
            {
                "apiVersion": "networking.k8s.io/v1",
                "kind": "NetworkPolicy",
                "metadata": {"name": "closed", "namespace": "red"},
                "spec": {"podSelector": {}, "policyTypes": ["Ingress"]},
            }
        ),
        {"tier": "default", "kind": "Tier", "namespace": "", "name": "default", "rule": "default"},
    ),
}


@pytest.mark.parametrize(("policies", "owner"), DENIED.values(), ids=DENIED)
def test_a_denial_is_a_line_with_who_denied_it(router, lines, tmp_path, policies, owner):
    enforced = enforce(*policies)
    router.nft.apply(enforced.ruleset.text)
    with observer(router, tmp_path, lambda: enforced):
        assert lines.get(timeout=10) == BEGINS
        assert router.send(tcp("eth0", STRANGER, TWO, 81) + tcp("eth0", SIX_STRANGER, SIX_TWO, 82))
        found = [lines.get(timeout=10) for _ in range(2)]
    numbers = {"protocol": "TCP", "src_port": 40000}
    common = {"event": "denied", "endpoint": "red/w2", "direction": "ingress", **numbers, **owner}
    assert found == [
        {**common, "src": str(STRANGER), "dst": str(TWO), "dst_port": 81},
        {**common, "src": str(SIX_STRANGER), "dst": str(SIX_TWO), "dst_port": 82},
    ]


def test_what_both_ends_of_a_node_would_deny_is_told_by_the_first(router, lines, tmp_path):
    enforced = enforce(policy("all", ingress=[], egress=[], types=("Ingress", "Egress")))
    router.nft.apply(enforced.ruleset.text)
    with observer(router, tmp_path, lambda: enforced):
        assert lines.get(timeout=10) == BEGINS
        router.send([Probe("cali1", ONE, TWO, 1, 8, 0)])
        found = lines.get(timeout=10)
    assert (found["direction"], found["endpoint"]) == ("egress", "red/w1")
    assert (found["protocol"], found["icmp_type"], found["icmp_code"]) == ("ICMP", 8, 0)
    assert [lines.get(timeout=10)] == [{"event": "the deny log ends"}]


def test_as_many_are_told_as_the_setting_lets_through_and_all_are_counted(router):
    limit = {"koratDenyLogRateLimit": "1/day", "koratDenyLogRateLimitBurst": 5}
    enforced = enforce(to_two(deny()), koratDenyLogGroup=9, **limit)
    router.nft.apply(enforced.ruleset.text)
    with listener(router, 9) as heard:
        router.send(tcp("eth0", STRANGER, TWO, 80, 60))
        told = drained(heard)
    own = counter_name(RuleRef.rule(Direction.INGRESS, "default", to_two().key, 0))
    assert [each.prefix for each in told] == [own] * 5
    assert {read_header(each.packet) for each in told} == {Header(STRANGER, TWO, 6, 40000, 80)}
    assert router.counters()[own].packets == 60


def test_overruns_are_counted(router):
    enforced = enforce(to_two(deny()))
    text = enforced.ruleset.text.replace("limit rate 10/second burst 20 packets log", "log")
    router.nft.apply(text)
    with listener(router, 1, queue_bytes=32 << 10) as heard:
        router.send(tcp("eth0", STRANGER, TWO, 80, 3000))
        early = len(drained(heard))
        router.send(tcp("eth0", STRANGER, TWO, 80))
        late = len(drained(heard))
        assert 0 < early < 3000
        assert late == 1
        assert early + late + heard.lost == 3001


def test_a_group_has_one_listener(router):
    with listener(router, 5), pytest.raises(Conflict, match="NFLOG group 5; set koratDenyLogGroup"):
        namespace.run_in(router._inner, lambda: Nflog(5))


def test_the_observer_follows_the_settings_and_its_sums_outlive_a_reload(router, lines, tmp_path):
    stage = [enforce(to_two(deny())), enforce(to_two(deny()), koratDenyLog="Disabled")]
    own = to_two().key
    router.nft.apply(stage[0].ruleset.text)

    def packets():
        found = [t for t in ask(tmp_path) if (t.kind, t.namespace, t.name) == tuple(own)]
        return {(t.rule, t.action): t.packets for t in found}

    with observer(router, tmp_path, lambda: stage[0]) as watching:
        assert lines.get(timeout=10) == BEGINS
        router.send(tcp("eth0", STRANGER, TWO, 80, 4))
        assert packets() == {("0", "Deny"): 4}
        assert [lines.get(timeout=10)["name"] for _ in range(4)] == ["p"] * 4
        del stage[0]
        router.nft.apply(stage[0].ruleset.text)
        watching.ring()
        router.send(tcp("eth0", STRANGER, TWO, 80, 2))
        assert packets() == {("0", "Deny"): 6}
        assert lines.get(timeout=10) == {"event": "the deny log ends"}
        with listener(router, 1):
            pass
    assert ask(tmp_path) is None

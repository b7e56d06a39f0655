"""Law: as slices come, change and go, a compiler says what the evaluator says of those there are.

One local pod has rules about two services in two namespaces, both ways; every address, protocol and
port that means something is asked after every few changes.
"""

from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from korat.core.model.policy import ServiceMatch
from korat.core.net.address import Addr, Family
from korat.core.policy.cluster import Cluster
from korat.core.policy.evaluate import judge
from korat.core.policy.match import Packet
from korat.core.policy.outcome import Direction
from korat.core.table.compile import NodeCompiler
from policy_world import allow, deny, open_namespace, pod, policy, who
from strategies_policy import ADDRESSES, NODE, STRANGERS, dealers

OWN = {4: "10.0.0.100", 6: "fd00::100"}


def service(name, namespace):
    return who(services=ServiceMatch(name=name, namespace=namespace))


ASKED = [deny, allow, deny, allow]
SERVICES = [("api", "blue"), ("api", "red"), ("dns", "red"), ("dns", "blue")]
WORLD = [
    open_namespace("red"),
    pod("own", *OWN.values(), app="own"),
    policy(
        selector="app == 'own'",
        types=("Ingress", "Egress"),
        ingress=[act(service(*each)) for act, each in zip(ASKED, SERVICES, strict=True)],
        egress=[act(None, service(*each)) for act, each in zip(ASKED, SERVICES, strict=True)],
    ),
]
PEERS = {family: [*ADDRESSES[family], *STRANGERS[family]] for family in (4, 6)}
TRAFFIC = list(product((6, 17, 132), (53, 80, 81, 65535)))


def steps():
    """A slice by its name, or None for one that goes."""
    one = dealers.map(lambda d: (f"e{d.random.randrange(4)}", d))
    return st.lists(one, min_size=3, max_size=8).map(
        lambda drawn: [(name, d.slice(name) if d.chance(80) else None) for name, d in drawn]
    )


def compiler_of(cluster):
    compiler = NodeCompiler(NODE)
    for name, profile in cluster.profiles.items():
        compiler.set_profile(name, profile)
    for endpoint in cluster.endpoints:
        compiler.set_endpoint(endpoint.key, endpoint)
    (tier,) = cluster.tiers
    for each in tier.policies:
        compiler.set_policy(each.key, each)
    return compiler


def slices_of(cluster):
    return {each.key: each for slices in cluster.services.values() for each in slices}


def agree(compiled, cluster):
    """Whether the tables say what the evaluator says of all there is to ask."""
    (own,) = cluster.endpoints
    for family, direction in product(Family, Direction):
        lookups = compiled.directions[family, direction]
        mine = Addr.parse(OWN[family])
        for text, (protocol, port) in product(PEERS[family], TRAFFIC):
            peer = Addr.parse(text)
            ends = (mine, peer) if direction is Direction.EGRESS else (peer, mine)
            packet = Packet(*ends, protocol, 40000, port)
            table = lookups.table(lookups.classes.class_of(peer), own.interface)
            outcome = judge(cluster, own, direction, packet).outcome
            assert table.lookup(protocol, 40000, port) == outcome, (packet, direction)


@settings(max_examples=40)
@given(steps())
def test_slices_that_come_and_go(drawn):
    there, known = {}, {}
    compiler = compiler_of(Cluster.build(WORLD))
    for name, made in drawn:
        there = {key: each for key, each in there.items() if key != name}
        if made is not None:
            there[name] = made
        cluster = Cluster.build([*WORLD, *there.values()])
        assert cluster.problems == ()
        now = slices_of(cluster)
        for key in known.keys() - now.keys():
            compiler.set_slice(key, None)
        for key in now.keys() - known.keys():
            compiler.set_slice(key, now[key])
        for key in now.keys() & known.keys():
            if now[key] != known[key]:
                compiler.set_slice(key, now[key])
        known = now
        agree(compiler.settle(), cluster)

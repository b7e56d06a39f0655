"""Law: a comparison of two clusters finds exactly the packets whose verdict the evaluator changes.

For every endpoint that both clusters have, both directions, and every packet drawn; and nothing is
told twice.
"""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from korat.core.policy.cluster import Cluster
from korat.core.policy.evaluate import judge
from korat.core.policy.outcome import Action, Direction
from korat.core.table.compare import compare
from strategies_policy import clusters, flows

#: For laws that the comparison with the evaluator, both ways, mostly implies.
few = settings(max_examples=max(20, settings().max_examples // 4))


@st.composite
def pairs(draw):
    """A cluster and what it becomes when some of its objects change, come or go."""
    one, other = ({r.key: r for r in draw(clusters())} for _ in range(2))
    random = draw(st.randoms(use_true_random=False))
    mixed = dict(one)
    for key in sorted({*one, *other}):
        match random.randrange(5):
            case 0:
                mixed.pop(key, None)
            case 1 | 2 if key in other:
                mixed[key] = other[key]
            case _:
                pass
    return Cluster.build(one.values()), Cluster.build(mixed.values())


def rulings(cluster, endpoint, direction, packet):
    """The rulings at each of the endpoint's addresses."""
    end = "dst" if direction is Direction.INGRESS else "src"
    outcomes = [
        judge(cluster, endpoint, direction, replace(packet, **{end: addr})).outcome
        for addr in endpoint.addresses_of(packet.family)
    ]
    return {(outcome.action, outcome.ref) for outcome in outcomes}


def strict(found):
    """What the tables say of all addresses of an endpoint together."""
    denied = any(action is Action.DENY for action, _ in found)
    return Action.DENY if denied else Action.ALLOW


def claims(changes, key, direction, packet, peer):
    """The changes that hold a packet."""
    return [
        change
        for change in changes
        if (change.endpoint, change.direction, change.family) == (key, direction, packet.family)
        and peer.value in change.peers
        and change.traffic.holds(packet.protocol, *packet.numbers)
    ]


@given(pairs(), flows())
def test_compare_is_brute_force(worlds, sent):
    before, after = worlds
    changes = list(compare(before, after))
    ends = [{e.key: e for e in cluster.endpoints} for cluster in worlds]
    owned = [{a for e in cluster.endpoints for a in e.addresses} for cluster in worlds]
    for key in {*ends[0], *ends[1]}:
        for direction in Direction:
            for packet in sent:
                peer = packet.src if direction is Direction.INGRESS else packet.dst
                found = claims(changes, key, direction, packet, peer)
                if key not in ends[0] or key not in ends[1] or peer in owned[0] ^ owned[1]:
                    assert not found
                    continue
                old, new = (
                    rulings(cluster, end[key], direction, packet)
                    for cluster, end in zip(worlds, ends, strict=True)
                )
                turned = bool(old and new) and strict(old) is not strict(new)
                assert len(found) == turned
                for change in found:
                    assert (change.before.action, change.after.action) == (strict(old), strict(new))
                    assert change.before in old
                    assert change.after in new


@few
@given(clusters())
def test_nothing_changes_between_a_cluster_and_itself(resources):
    cluster = Cluster.build(resources)
    assert list(compare(cluster, Cluster.build(resources))) == []


@few
@given(pairs())
def test_the_way_back_is_the_same_way(worlds):
    def told(changes):
        return {
            (c.direction, c.endpoint, c.family, c.peers, c.traffic, c.before, c.after)
            for c in changes
        }

    before, after = worlds
    back = {
        (direction, endpoint, family, peers, traffic, then, now)
        for direction, endpoint, family, peers, traffic, now, then in told(compare(after, before))
    }
    assert told(compare(before, after)) == back

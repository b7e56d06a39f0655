"""The generated clusters: the same each time, valid, and as large as asked."""

from collections import Counter

import pytest

from bench.cluster import (
    ASKER_ONE,
    ASKER_TWO,
    NODE,
    Shape,
    fresh_address,
    fresh_pod,
    idle_interfaces,
    objects,
    probe_policy,
)
from bench.lane import CLIENT, CLIENT_INTERFACE, SERVER, SERVER_INTERFACE
from bench.plan import FULL, QUICK, SMOKE
from bench.storefile import write
from korat.core.model import codec
from korat.core.model.key import Key
from korat.core.model.validate import validate
from korat.core.policy.cluster import Cluster
from korat.core.policy.evaluate import judge
from korat.core.policy.match import Packet
from korat.core.policy.outcome import Action, Direction
from korat.drivers.store.client import Client
from korat.drivers.store.sqlite import SqliteStore

SMALL = Shape(remote=60, local=10, policies=40, focus=6)


def allowed(resources, source, target, port, protocol=6):
    """Whether policy lets this through for every local end."""
    cluster = Cluster.build(resources)
    assert cluster.problems == ()
    packet = Packet(source, target, protocol, sport=40000, dport=port)
    sides = [(source, Direction.EGRESS), (target, Direction.INGRESS)]
    judged = [
        judge(cluster, endpoint, direction, packet).outcome.action is Action.ALLOW
        for addr, direction in sides
        if (endpoint := cluster.endpoint_at(addr)) and endpoint.node == NODE
    ]
    assert judged
    return all(judged)


def test_the_same_shape_and_seed_give_the_same_bytes():
    first, again = ([codec.dump(r) for r in objects(SMALL)] for _ in range(2))
    other = [codec.dump(r) for r in objects(Shape(60, 10, 40, 6, seed=2))]
    assert first == again
    assert first != other


def test_it_is_as_large_as_asked():
    kinds = Counter(r.kind for r in objects(SMALL))
    assert kinds["NetworkPolicy"] == SMALL.policies + SMALL.focus
    assert kinds["WorkloadEndpoint"] == SMALL.remote + SMALL.local + 4
    local = [e for e in Cluster.build(objects(SMALL)).endpoints if e.node == NODE]
    interfaces = {*idle_interfaces(SMALL), CLIENT_INTERFACE, SERVER_INTERFACE}
    assert {e.interface for e in local} == interfaces
    assert len(local) == SMALL.local + 2


def test_every_object_is_one_that_korat_would_store():
    assert not [problem for each in objects(SMALL) for problem in validate(each)]


def test_keys_and_addresses_are_given_once():
    made = [*objects(SMALL), *(fresh_pod(n) for n in range(5))]
    assert not [key for key, times in Counter(r.key for r in made).items() if times > 1]
    taken = Counter(a for e in Cluster.build(made).endpoints for a in e.addresses)
    assert not [addr for addr, times in taken.items() if times > 1]


def test_many_apps_have_policies_of_their_own():
    cluster = Cluster.build(objects(Shape(remote=10, local=5, policies=400, focus=0)))
    governed = {(p.key.namespace, str(p.selector)) for t in cluster.tiers for p in t.policies}
    assert len(governed) == 400


@pytest.mark.parametrize("focus", [1, 2, 6, 25])
def test_the_driven_pods_may_talk_whatever_the_number_of_policies(focus):
    resources = list(objects(Shape(remote=30, local=3, policies=4, focus=focus)))
    for port in (8080, 8081):
        assert allowed(resources, CLIENT, SERVER, port)
    assert not allowed(resources, CLIENT, SERVER, 20_000)
    assert not allowed(resources, SERVER, CLIENT, 8080)


def test_the_measured_policy_lets_one_asker_send_to_one_port():
    resources = [*objects(SMALL), probe_policy(20_000, "one"), fresh_pod(7)]
    assert allowed(resources, ASKER_ONE, SERVER, 20_000, 17)
    assert allowed(resources, fresh_address(7), SERVER, 20_000, 17)
    assert not allowed(resources, fresh_address(8), SERVER, 20_000, 17)
    assert not allowed(resources, ASKER_ONE, SERVER, 20_001, 17)
    assert not allowed(resources, ASKER_TWO, SERVER, 20_000, 17)


def test_a_store_that_was_written_at_once_is_a_store(tmp_path):
    made = list(objects(SMALL))
    path = tmp_path / "korat.db"
    count = write(path, made)
    store = SqliteStore(path)
    client = Client(store)
    assert [r.key for r in store.list().records] == sorted(r.key for r in made)
    with store.watch(count) as watch:
        client.create(fresh_pod(0))
        (event,) = watch.poll(5)
    assert (event.key, event.revision) == (fresh_pod(0).key, count + 1)
    assert client.get(Key("Profile", "", "kns.driven")).metadata.name == "kns.driven"
    store.close()


@pytest.mark.parametrize("plan", [FULL, FULL.scaled(0.01), QUICK, SMOKE], ids=str)
def test_each_plan_has_sizes_that_grow(plan):
    focus = [size.focus for size in plan.sizes]
    assert focus == sorted(set(focus))
    assert all(size.remote and size.local for size in (*plan.sizes, plan.cluster))


def test_the_full_plan_is_the_issues():
    assert [(s.focus, s.remote, s.local) for s in FULL.sizes] == [
        (1, 100, 250),
        (100, 1_000, 250),
        (1_000, 10_000, 250),
        (10_000, 100_000, 250),
    ]
    shape = FULL.cluster
    assert (shape.remote, shape.policies, shape.local) == (100_000, 2_000, 250)
    assert min(FULL.rounds, FULL.changes, FULL.bursts, FULL.starts) >= 9

"""Calico's client contract: identity, revisions, defaults, built-ins."""

from collections import deque
from dataclasses import replace as replace_field

import pytest
from msgspec.structs import replace

from ipam_world import World
from korat.core.errors import Conflict, Invalid, NotFound, Unsupported
from korat.core.model.builtin import DEFAULT_ALLOW, INFORMATION
from korat.core.model.codec import dump
from korat.core.model.key import Key
from korat.core.model.pod import Pod, PodSpec, PodStatus
from korat.core.model.policy import NetworkPolicy, PolicySpec, Profile, Tier, TierSpec
from korat.core.model.resource import Metadata
from korat.core.net.address import Addr
from korat.drivers.store.batch import Verb
from korat.drivers.store.batch import run as run_batch
from korat.drivers.store.client import DISABLED_S, Client, initialize
from korat.drivers.store.memory import MemoryStore

KEY = Key("NetworkPolicy", "shop", "a")


@pytest.fixture
def client():
    uids = deque(f"uid-{i}" for i in range(20))
    times = deque(f"2026-01-01T00:00:{i:02}Z" for i in range(20))
    return Client(MemoryStore(), times.popleft, uids.popleft)


def policy(order=None, **meta):
    return NetworkPolicy(
        metadata=Metadata(name="a", namespace="shop", **meta), spec=PolicySpec(order=order)
    )


def test_create_fills_in(client):
    made = client.create(policy())
    assert made == client.get(KEY)
    assert (made.metadata.uid, made.metadata.creation_timestamp) == (
        "uid-0",
        "2026-01-01T00:00:00Z",
    )
    assert int(made.metadata.resource_version) > 0
    assert made.spec.types == ("Ingress",)
    assert made.metadata.labels == {"projectcalico.org/tier": "default"}


def test_create_refuses(client):
    client.create(policy())
    with pytest.raises(Conflict, match=r"resource already exists: NetworkPolicy\(shop/a\)"):
        client.create(policy())
    with pytest.raises(Invalid, match="must not be set to create an object"):
        client.create(policy(resource_version="5"))
    with pytest.raises(Unsupported, match="operation create is not supported on Profile"):
        client.create(DEFAULT_ALLOW)


def test_update_keeps_identity(client):
    made = client.create(policy())
    changed = client.update(policy(order=5, uid="mine", creation_timestamp="1970-01-01T00:00:00Z"))
    assert changed.spec.order == 5
    assert changed.metadata.uid == made.metadata.uid
    assert changed.metadata.creation_timestamp == made.metadata.creation_timestamp
    assert int(changed.metadata.resource_version) > int(made.metadata.resource_version)


def test_update_refuses(client):
    with pytest.raises(NotFound, match=r"resource does not exist: NetworkPolicy\(shop/a\)"):
        client.update(policy())
    made = client.create(policy())
    client.update(replace(made, spec=PolicySpec(order=1)))
    with pytest.raises(Conflict, match=r"update conflict: NetworkPolicy\(shop/a\)"):
        client.update(replace(made, spec=PolicySpec(order=2)))
    assert client.get(KEY).spec.order == 1


def test_writing_what_is_there_writes_nothing(client):
    made = client.create(policy())
    before = client.store.list().revision
    assert client.apply(policy()) == made
    assert client.store.list().revision == before


def test_apply_creates_and_replaces(client):
    assert client.apply(policy(resource_version="77")).spec.order is None
    assert client.apply(policy(order=3)).spec.order == 3


def test_apply_tries_again_when_it_loses_a_race(client):
    client.create(policy())

    class Racing(MemoryStore):
        """Somebody writes between the read and the first write."""

        raced = False

        def update(self, key, value, revision):
            if not Racing.raced:
                Racing.raced = True
                other = dump(client.get(KEY).__class__(metadata=client.get(KEY).metadata))
                client.store.update(key, other, revision)
            return client.store.update(key, value, revision)

        def list(self, kinds=()):
            return client.store.list(kinds)

    racing = replace_store(client, Racing())
    assert racing.apply(policy(order=9)).spec.order == 9
    assert Racing.raced


def replace_store(client, store):
    return Client(store, client.now, client.new_uid)


def test_delete(client):
    made = client.create(policy())
    with pytest.raises(Conflict, match="update conflict"):
        client.delete(KEY, "999")
    with pytest.raises(Invalid, match="a resourceVersion is the decimal number"):
        client.delete(KEY, "x")
    assert client.delete(KEY, made.metadata.resource_version).key == KEY
    with pytest.raises(NotFound):
        client.delete(KEY)


@pytest.mark.parametrize(
    "key",
    [Key("Tier", "", "default"), Key("Tier", "", "kube-admin"), DEFAULT_ALLOW.key, INFORMATION],
)
def test_built_ins_stay(client, key):
    initialize(client, "1")
    with pytest.raises(Unsupported, match="it is built in"):
        client.delete(key)
    assert client.get(key)


def test_initialize_twice_is_once(client):
    client.create(Tier(metadata=Metadata(name="default"), spec=TierSpec(1_000_000, "Deny")))
    initialize(client, "1")
    first = client.store.list()
    initialize(client, "2")
    assert client.store.list() == first
    assert {record.key.name for record in first.records} == {
        "default",
        "kube-admin",
        "kube-baseline",
    }


def test_the_default_profile_is_always_listed(client):
    assert client.read(["Profile"]).of("Profile") == [DEFAULT_ALLOW]
    client.create(Profile(metadata=Metadata(name="x")))
    assert [p.metadata.name for p in client.read().of("Profile")] == [
        "projectcalico-default-allow",
        "x",
    ]
    assert not client.read(["Tier"]).by_key


def test_a_manifest_does_not_unsay_what_the_node_said(client):
    meta = Metadata(name="web", namespace="shop")
    running = PodStatus(phase="Running", pod_ip="10.0.0.1")
    client.create(Pod(metadata=meta, spec=PodSpec(node_name="vm1"), status=running))
    labelled = client.apply(Pod(metadata=replace(meta, labels={"a": "b"})))
    assert (labelled.spec.node_name, labelled.status) == ("vm1", running)
    assert labelled.metadata.labels == {"a": "b"}
    moved = client.apply(
        Pod(metadata=meta, spec=PodSpec(node_name="vm2"), status=PodStatus("Failed"))
    )
    assert (moved.spec.node_name, moved.status.phase) == ("vm2", "Failed")


# Pools.


@pytest.fixture
def world(client):
    waits = []
    made = World(client.store)
    made.client = replace_field(client, sleep=waits.append)
    made.waits = waits
    return made


def test_a_pool_is_disabled_then_emptied_then_deleted(world):
    world.pool()
    world.pool("other", "10.1.0.0/24")
    world.assign(handle="a", pools=("pool",))
    world.assign(handle="b", pools=("other",))
    world.assign("n2", handle="c", pools=("pool",))
    world.release_handle("c")
    with world.store.watch(world.store.list().revision) as watch:
        gone = world.client.delete(Key("IPPool", "", "pool"))
        events = watch.poll(0)
    assert gone.spec.disabled
    assert world.waits == [DISABLED_S]
    assert events[0].key == events[-1].key == Key("IPPool", "", "pool")
    assert events[-1].record is None
    assert world.names("IPPool") == ["other"]
    owners = {block.spec.cidr[:4]: block.spec.owner for block in world.objects("IPAMBlock")}
    assert owners == {"10.0": "", "10.1": "host:n1"}, "the empty block is gone, one is nobody's"
    assert [claim.spec.cidr[:4] for claim in world.objects("BlockAffinity")] == ["10.1"]
    assert sorted(world.held().values()) == ["a", "b"]
    world.release_handle("a")
    assert [block.spec.cidr[:4] for block in world.objects("IPAMBlock")] == ["10.1"]


def test_nobody_waits_for_a_pool_that_was_disabled_before(world):
    world.pool(disabled=True)
    world.client.delete(Key("IPPool", "", "pool"))
    assert (world.waits, world.names("IPPool")) == ([], [])


def test_a_pool_that_was_changed_since_stays_enabled(world):
    revision = world.pool().revision
    with pytest.raises(Conflict, match=r"update conflict: IPPool\(pool\)"):
        world.client.delete(Key("IPPool", "", "pool"), str(revision + 1))
    assert not world.objects("IPPool")[0].spec.disabled
    world.client.delete(Key("IPPool", "", "pool"), str(revision))
    assert world.names("IPPool") == []


def test_a_pool_that_is_not_there_is_not_deleted(world):
    with pytest.raises(NotFound, match=r"resource does not exist: IPPool\(pool\)"):
        world.client.delete(Key("IPPool", "", "pool"))


def test_a_pools_addresses_that_are_still_in_use_are_said(world):
    world.pool()
    for i in range(4):
        world.assign(handle=f"h{i}")
    held = ", ".join(sorted(world.held(), key=Addr.parse)[:3])
    outcome = run_batch(world.client, Verb.DELETE, [world.client.get(Key("IPPool", "", "pool"))])
    assert outcome.error is None
    (note,) = outcome.notes
    what = f"IPPool pool: 4 of its addresses are still in use ({held}, ...)"
    assert note == f"{what}; each goes with its pod, and its block with the last of them"
    assert len(world.held()) == 4

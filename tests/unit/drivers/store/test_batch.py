"""Batches: all or nothing by the rules, and an honest account when somebody interferes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from korat.core.errors import Conflict
from korat.core.model.key import Key
from korat.core.model.pod import Pod
from korat.core.model.policy import NetworkPolicy, PolicySpec, Profile, Tier
from korat.core.model.resource import Metadata
from korat.drivers.store.batch import Refused, Verb, apply, prepare, run
from korat.drivers.store.client import Client
from korat.drivers.store.memory import MemoryStore


def policy(name, tier="default"):
    return NetworkPolicy(metadata=Metadata(name=name, namespace="shop"), spec=PolicySpec(tier=tier))


def pod(name):
    return Pod(metadata=Metadata(name=name, namespace="shop"))


TIER = Tier(metadata=Metadata(name="t"))


def keys(client):
    return {record.key for record in client.store.list().records}


@given(st.permutations([policy("a", "t"), policy("b", "t"), TIER, pod("p")]))
def test_the_order_of_a_file_does_not_matter(resources):
    client = Client(MemoryStore())
    done = [resource.kind for resource in apply(client, resources).done]
    assert done == ["Tier", "Profile", "Profile", "NetworkPolicy", "NetworkPolicy", "Pod"]
    gone = run(client, Verb.DELETE, resources)
    assert [r.kind for r in gone.done] == ["Pod", "NetworkPolicy", "NetworkPolicy", "Tier"]


def test_every_broken_rule_is_told_and_nothing_is_written():
    client = Client(MemoryStore())
    with pytest.raises(Refused) as caught:
        apply(client, [policy("ok"), policy("a", "x"), policy("b", "y")])
    assert len(caught.value.errors) == 2
    assert not keys(client)


def test_namespaces_and_accounts_of_pods_are_made():
    client = Client(MemoryStore())
    cook = Pod(metadata=Metadata(name="c", namespace="shop"))
    outcome = apply(client, [pod("a"), cook])
    assert outcome.notes == (
        "Pod shop/a: no Namespace shop was declared, so it was created without labels",
    )
    profiles = {key.name for key in keys(client) if key.kind == "Profile"}
    assert profiles == {"kns.shop", "ksa.shop.default"}
    assert apply(client, [pod("b")]).notes == ()


def test_a_namespace_takes_its_accounts_along():
    client = Client(MemoryStore())
    other = Profile(metadata=Metadata(name="ksa.shopping.default"))
    apply(client, [pod("a"), other])
    namespace = Profile(metadata=Metadata(name="kns.shop"))
    run(client, Verb.DELETE, [namespace, pod("a")])
    assert keys(client) == {other.key}


def test_another_writer_stops_a_batch_in_the_middle():
    class Contended(MemoryStore):
        """Somebody else creates policy b at the very moment."""

        def create(self, key, value):
            if key.name == "b":
                raise Conflict("there already")
            return super().create(key, value)

    client = Client(Contended())
    outcome = run(client, Verb.CREATE, [policy("a"), policy("b"), policy("c")])
    assert outcome.keys == {Key("NetworkPolicy", "shop", "a")}
    assert str(outcome.error) == "resource already exists: NetworkPolicy(shop/b)"
    assert keys(client) == {Key("NetworkPolicy", "shop", "a")}


def test_tolerance():
    client = Client(MemoryStore())
    apply(client, [policy("a")])
    assert prepare(client, Verb.CREATE, [policy("a"), policy("b")], tolerant=True).resources == (
        policy("b"),
    )
    assert prepare(client, Verb.DELETE, [policy("a"), policy("b")], tolerant=True).resources == (
        policy("a"),
    )

"""Traps of rules with ``services``; every packet is judged by all three engines.

The world: ``web`` (10.0.0.1 and fd00::1, local, red) is asked about what it sends and what it gets;
``db`` and ``far`` are pods too, 192.0.2.7 is nobody. In a source a service is addresses alone, in a
destination it is address, protocol and port (felix/serviceindex).
"""

import pytest

from korat.core.model.label import SERVICE_NAME
from korat.core.model.policy import ServiceMatch
from korat.core.model.resource import Metadata
from korat.core.model.service import Conditions, EndpointSlice, SliceEndpoint, SlicePort
from korat.core.policy.cluster import Cluster
from korat.core.policy.evaluate import verdict
from korat.core.policy.outcome import Action, Direction
from policy_world import (
    allow,
    deny,
    endpoint_slice,
    judged,
    open_namespace,
    packet,
    pod,
    policy,
    profile,
    who,
)

WEB, DB, FAR, NOBODY = "10.0.0.1", "10.0.0.2", "10.0.0.3", "192.0.2.7"
WEB6, DB6 = "fd00::1", "fd00::2"
TCP, UDP, SCTP, ICMP, ICMP6 = 6, 17, 132, 1, 58
WORLD = [
    open_namespace("red"),
    open_namespace("blue"),
    pod("web", WEB, WEB6, app="web"),
    pod("db", DB, DB6, app="db"),
    pod("far", FAR, namespace="blue"),
]


def service(name="svc", namespace=""):
    return who(services=ServiceMatch(name=name, namespace=namespace))


def first(protocol):
    """A source port, or the type of a ping."""
    return 8 if protocol in (ICMP, ICMP6) else 40000


def leaves(slices, dst, number=80, protocol=TCP, rule=None, namespace="red"):
    """Whether ``web`` may send this, if nothing but the service's endpoints is allowed."""
    asked = rule or allow(None, service())
    lone = policy(namespace=namespace, selector="app == 'web'", egress=[asked])
    sent = packet(WEB6 if ":" in dst else WEB, dst, protocol, first(protocol), number)
    return judged([*WORLD, *slices, lone], Direction.EGRESS, sent).action is Action.ALLOW


def enters(slices, src, number=80, protocol=TCP, rule=None, namespace="red"):
    """Whether ``web`` gets this, if nobody but the service's endpoints is allowed."""
    asked = rule or allow(service())
    lone = policy(namespace=namespace, selector="app == 'web'", ingress=[asked])
    sent = packet(src, WEB6 if ":" in src else WEB, protocol, first(protocol), number)
    return judged([*WORLD, *slices, lone], Direction.INGRESS, sent).action is Action.ALLOW


ONE = endpoint_slice("a", "svc", DB, ports=[("TCP", 80)])


def test_a_service_that_is_missing_matches_nothing():
    assert not leaves([], DB)
    assert not enters([], DB)
    open_end = [deny(None, service()), allow()]
    lone = policy(selector="app == 'web'", egress=open_end)
    sent = packet(WEB, DB)
    assert judged([*WORLD, lone], Direction.EGRESS, sent).action is Action.ALLOW
    assert judged([*WORLD, ONE, lone], Direction.EGRESS, sent).action is Action.DENY


def test_a_destination_is_address_protocol_and_port():
    assert leaves([ONE], DB, 80)
    assert not leaves([ONE], DB, 81)
    assert not leaves([ONE], DB, 80, UDP)
    assert not leaves([ONE], FAR, 80)
    assert not leaves([ONE], DB, 0, ICMP)


def test_a_source_is_addresses_whatever_the_slices_ports():
    portless = endpoint_slice("b", "svc", FAR)
    assert enters([ONE], DB, 80)
    assert enters([ONE], DB, 9999, UDP)
    assert enters([ONE], DB, 0, ICMP)
    assert not enters([ONE], FAR)
    assert enters([portless], FAR)


def test_source_ports_may_stand_beside_a_service():
    only = allow(who(services=ServiceMatch(name="svc"), ports=[40000]), protocol="TCP")
    other = allow(who(services=ServiceMatch(name="svc"), ports=[53]), protocol="TCP")
    assert enters([ONE], DB, rule=only)
    assert not enters([ONE], DB, rule=other)
    assert not enters([ONE], FAR, rule=only)


def test_a_slice_with_several_ports_has_each_of_them_at_each_address():
    several = endpoint_slice("a", "svc", DB, FAR, ports=[("TCP", 80), ("UDP", 53), ("SCTP", 80)])
    for dst in (DB, FAR):
        assert leaves([several], dst, 80)
        assert leaves([several], dst, 53, UDP)
        assert leaves([several], dst, 80, SCTP)
        assert not leaves([several], dst, 53)
        assert not leaves([several], dst, 80, UDP)


def test_two_slices_of_a_service_add_up_and_do_not_mix():
    two = [
        endpoint_slice("a", "svc", DB, ports=[("TCP", 80)]),
        endpoint_slice("b", "svc", FAR, ports=[("TCP", 8080)]),
    ]
    assert leaves(two, DB, 80)
    assert leaves(two, FAR, 8080)
    assert not leaves(two, DB, 8080)
    assert not leaves(two, FAR, 80)
    assert enters(two, DB)
    assert enters(two, FAR)


def test_slices_of_both_ip_versions():
    both = [ONE, endpoint_slice("b", "svc", DB6, ports=[("TCP", 443)])]
    assert leaves(both, DB, 80)
    assert leaves(both, DB6, 443)
    assert not leaves(both, DB, 443)
    assert not leaves(both, DB6, 80)
    assert enters(both, DB6)
    assert not enters(both[:1], DB6)
    assert not leaves(both, DB6, 0, ICMP6)


def test_an_address_that_is_no_pod():
    outside = [endpoint_slice("a", "svc", NOBODY, ports=[("TCP", 80)])]
    assert leaves(outside, NOBODY)
    assert not leaves(outside, NOBODY, 81)
    assert not leaves(outside, DB)
    assert enters(outside, NOBODY)
    assert not enters(outside, "192.0.2.8")


def test_a_service_without_a_namespace_is_the_policys():
    blue = [endpoint_slice("a", "svc", FAR, namespace="blue", ports=[("TCP", 80)])]
    assert not leaves(blue, FAR)
    assert leaves(blue, FAR, rule=allow(None, service(namespace="blue")))
    assert enters(blue, FAR, rule=allow(service(namespace="blue")))
    assert leaves([ONE, *blue], DB)
    assert not leaves([ONE, *blue], DB, rule=allow(None, service(namespace="blue")))


def test_a_global_policy_names_the_namespace():
    assert leaves([ONE], DB, rule=allow(None, service(namespace="red")), namespace="")
    assert not leaves([ONE], DB, rule=allow(None, service()), namespace="")


def test_a_profile_names_the_namespace():
    named = profile("extra", egress=[allow(None, service(namespace="red"))])
    own = pod("x", "10.0.0.9", profiles=["extra"])
    for dst, expected in ((DB, Action.ALLOW), (FAR, Action.DENY)):
        sent = packet("10.0.0.9", dst)
        outcome = judged([*WORLD, own, named, ONE], Direction.EGRESS, sent)
        assert outcome.action is expected


def test_a_services_address_that_a_pod_of_another_service_shares():
    shared = [ONE, endpoint_slice("b", "other", DB, ports=[("TCP", 5432)])]
    assert leaves(shared, DB, 80)
    assert not leaves(shared, DB, 5432)
    assert leaves(shared, DB, 5432, rule=allow(None, service("other")))
    assert not leaves(shared, DB, 80, rule=allow(None, service("other")))


def hand_made(*endpoints, ports=(), labels=None, kind="IPv4"):
    labels = {SERVICE_NAME: "svc"} if labels is None else labels
    return EndpointSlice(
        metadata=Metadata(name="a", namespace="red", labels=labels),
        address_type=kind,
        endpoints=endpoints,
        ports=ports,
    )


def test_an_endpoint_that_is_not_ready_is_an_endpoint():
    waiting = SliceEndpoint(addresses=(DB,), conditions=Conditions(ready=False, serving=False))
    made = hand_made(waiting, ports=(SlicePort(port=80),))
    assert leaves([made], DB)
    assert enters([made], DB)


def test_a_port_without_a_number_or_no_port_at_all_lets_nothing_out():
    ready = SliceEndpoint(addresses=(DB,))
    for ports in ((), (SlicePort(name="any"),)):
        made = hand_made(ready, ports=ports)
        assert not leaves([made], DB)
        assert enters([made], DB)


def test_a_slice_that_names_no_service_is_of_none():
    lost = hand_made(SliceEndpoint(addresses=(DB,)), ports=(SlicePort(port=80),), labels={})
    assert not leaves([lost], DB)
    assert Cluster.build([lost]).services == {}


def test_names_of_hosts_among_the_addresses_say_nothing():
    named = hand_made(
        SliceEndpoint(addresses=("db.example.com", DB)), ports=(SlicePort(port=80),), kind="FQDN"
    )
    assert leaves([named], DB)
    assert Cluster.build([named]).problems == ()


def test_the_same_endpoint_in_two_slices_stays_while_one_has_it():
    twice = [ONE, endpoint_slice("b", "svc", DB, ports=[("TCP", 80)])]
    assert leaves(twice, DB)
    assert leaves(twice[1:], DB)


WHY = {
    "the destination is no endpoint of service red/svc": (packet(WEB, FAR), allow(None, service())),
    "the destination port is none of service red/svc": (
        packet(WEB, DB, b=81),
        allow(None, service()),
    ),
    "the source is no endpoint of service blue/svc": (
        packet(WEB, DB),
        allow(service(namespace="blue")),
    ),
}


@pytest.mark.parametrize(("why", "asked"), WHY.items(), ids=WHY)
def test_why_a_service_did_not_match(why, asked):
    sent, rule = asked
    lone = policy(selector="app == 'web'", egress=[rule])
    found = verdict(Cluster.build([*WORLD, ONE, lone]), sent).egress
    assert found is not None
    ((trace,),) = [p.rules for stage in found.stages for p in stage.policies]
    assert trace.why_not == why

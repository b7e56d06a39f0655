"""Azure's own addresses: what is refused by default, what a setting changes, who is never asked."""

from dataclasses import replace

import pytest

from korat.core.model.felix import FelixSettings
from korat.core.net.address import Addr
from korat.core.policy.between import Surroundings
from korat.core.policy.cluster import Cluster
from korat.core.policy.outcome import Action
from korat.core.policy.platform import PlatformAccess
from policy_world import NODE, allow, host, open_namespace, packet, pod, policy

WIRESERVER, METADATA, POD, HERE = "168.63.129.16", "169.254.169.254", "10.0.0.1", "10.10.0.4"
WORLD = (open_namespace("red"), pod("web", f"{POD}/32", app="web"))
TCP, UDP = 6, 17
BY_WIRESERVER = "deny egress koratPodsToWireserver"
BY_METADATA = "deny egress koratPodsToInstanceMetadata"
OPEN = FelixSettings(pods_to_wireserver=True)
SHUT = FelixSettings(pods_to_instance_metadata=False)


@pytest.mark.parametrize(
    ("dst", "protocol", "port", "by_default", "shut"),
    [
        (WIRESERVER, TCP, 80, "koratPodsToWireserver", "koratPodsToWireserver"),
        (WIRESERVER, TCP, 32526, "koratPodsToWireserver", "koratPodsToWireserver"),
        (WIRESERVER, TCP, 53, None, None),
        (WIRESERVER, UDP, 53, None, None),
        (WIRESERVER, UDP, 80, None, None),
        (WIRESERVER, TCP, 443, None, None),
        (METADATA, TCP, 80, None, "koratPodsToInstanceMetadata"),
        (METADATA, TCP, 81, None, None),
        (METADATA, UDP, 80, None, None),
        ("168.63.129.17", TCP, 80, None, None),
        ("::ffff:168.63.129.16", TCP, 80, None, None),
    ],
)
def test_what_is_refused(dst, protocol, port, by_default, shut):
    asked = Addr.parse(dst), protocol, port
    for felix, who in ((FelixSettings(), by_default), (SHUT, shut)):
        setting = PlatformAccess.of(felix).refuses(*asked)
        assert (setting and setting.reason.value) == who
    assert PlatformAccess.of(OPEN).refuses(*asked) is None


def between(src, dst, *resources, felix=OPEN, port=80):
    cluster = Cluster.build([*WORLD, *resources])
    around = Surroundings(cluster, {NODE: (Addr.parse(HERE),)}, lambda _node: felix)
    return around.between(packet(src, dst, b=port))


def said(verdict):
    outcome = verdict.egress and verdict.egress.outcome
    return outcome and f"{outcome.action.value} {outcome.ref.text}"


def egress(*rules):
    return policy("p", selector="app == 'web'", types=("Egress",), egress=rules)


def test_no_policy_allows_it_back_and_one_can_refuse_more():
    everything, nothing = egress(allow()), egress()
    assert said(between(POD, WIRESERVER, everything, felix=FelixSettings())) == BY_WIRESERVER
    assert said(between(POD, METADATA, everything, felix=SHUT)) == BY_METADATA
    opened = between(POD, WIRESERVER, everything)
    assert opened.action is Action.ALLOW
    assert said(between(POD, WIRESERVER, nothing)) == "deny egress default tier default"
    assert said(between(POD, WIRESERVER, nothing, felix=FelixSettings())) == BY_WIRESERVER
    assert said(between(POD, WIRESERVER, nothing, felix=FelixSettings(), port=53)) != BY_WIRESERVER


def test_what_is_no_workload_is_not_asked():
    felix = replace(SHUT, pods_to_wireserver=False)
    for dst in (WIRESERVER, METADATA):
        found = between(HERE, dst, felix=felix)
        assert found.action is Action.ALLOW
        assert between("203.0.113.9", dst, felix=felix).action is Action.ALLOW


def test_the_policy_of_the_nodes_own_interface_does_not_overrule_it():
    eth0 = host("eth0", HERE, role="host")
    opening = policy(
        "p",
        namespace="",
        selector="role == 'host'",
        types=("Egress",),
        apply_on_forward=True,
        egress=[allow()],
    )
    assert said(between(POD, WIRESERVER, eth0, opening, felix=FelixSettings())) == BY_WIRESERVER


def test_each_nodes_own_settings_count():
    far = pod("far", "10.0.1.1/32", node="there")
    cluster = Cluster.build([*WORLD, far])
    around = Surroundings(cluster, {}, lambda node: OPEN if node == "there" else FelixSettings())
    assert said(around.between(packet(POD, WIRESERVER))) == BY_WIRESERVER
    assert around.between(packet("10.0.1.1", WIRESERVER)).action is Action.ALLOW

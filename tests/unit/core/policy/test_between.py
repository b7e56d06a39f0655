"""Two ends of which no interface is known: whose policies are asked, and who decides."""

import pytest

from korat.core.model.felix import FelixSettings
from korat.core.net.address import Addr
from korat.core.policy.between import Surroundings
from korat.core.policy.cluster import Cluster
from policy_world import NODE, allow, deny, host, open_namespace, packet, pod, policy

HERE, THERE, WEB, DB, FAR = "172.16.0.1", "172.16.0.2", "10.0.0.1", "10.0.0.2", "10.0.1.1"
WORLD = (
    open_namespace("red"),
    pod("web", WEB, app="web"),
    pod("db", DB, app="db"),
    pod("far", FAR, node="there"),
)
ETH0 = host("eth0", HERE, role="host")
STAR = host("*", HERE, role="host")
AUTO = host("*", HERE, profiles=["projectcalico-default-allow"], role="host")


def on_host(**fields):
    return policy("p", namespace="", selector="role == 'host'", **fields)


CLOSED = on_host(apply_on_forward=True, ingress=[deny()])
SHUT = on_host(apply_on_forward=True, egress=[deny()], types=("Egress",))
CASES = {
    "to a node without host endpoints": ([], FAR, HERE, "allow", None),
    "to a node": ([ETH0], FAR, HERE, "allow", "deny ingress no profile matched"),
    "to its failsafe port": ([ETH0], FAR, HERE, "allow", "allow ingress failsafe 0", 22),
    "from a node": ([ETH0], HERE, FAR, "deny egress no profile matched", "allow"),
    "from a node to its own workload": ([ETH0, STAR], HERE, WEB, None, None),
    "from a workload to its own node": (
        [AUTO],
        WEB,
        HERE,
        "allow",
        "deny ingress DefaultEndpointToHostAction",
    ),
    "from a workload to another node": (
        [host("eth0", THERE, node="there")],
        WEB,
        THERE,
        "allow",
        "deny ingress no profile matched",
    ),
    "forwarded to a workload": (
        [ETH0, CLOSED],
        FAR,
        WEB,
        "allow",
        "deny ingress default GlobalNetworkPolicy p rule 0",
    ),
    "forwarded from a workload": (
        [ETH0, SHUT],
        WEB,
        FAR,
        "deny egress default GlobalNetworkPolicy p rule 0",
        "allow",
    ),
    "within a node an interface's own host endpoint is not on the way": (
        [ETH0, CLOSED],
        WEB,
        DB,
        "allow",
        "allow",
    ),
    "within a node the star is": (
        [STAR, CLOSED],
        WEB,
        DB,
        "deny ingress default GlobalNetworkPolicy p rule 0",
        "allow",
    ),
    "the automatic one forwards": ([AUTO], FAR, WEB, "allow", "allow"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_who_decides(case):
    resources, src, dst, egress, ingress, *port = case
    cluster = Cluster.build([*WORLD, *resources])
    nodes = {NODE: (Addr.parse(HERE),), "there": (Addr.parse(THERE),)}
    around = Surroundings(cluster, nodes, lambda _node: FelixSettings())
    found = around.between(packet(src, dst, b=port[0] if port else 7000))
    for judgement, expected in ((found.egress, egress), (found.ingress, ingress)):
        if expected is None:
            assert judgement is None
        else:
            outcome = judgement.outcome
            assert f"{outcome.action.value} {outcome.ref.text}".startswith(expected)


def test_a_policy_that_allows_opens_the_node():
    cluster = Cluster.build([*WORLD, ETH0, on_host(ingress=[allow()])])
    around = Surroundings(cluster, {NODE: (Addr.parse(HERE),)}, lambda _node: FelixSettings())
    found = around.between(packet(FAR, HERE, b=7000))
    assert found.ingress.outcome.ref.text == "ingress default GlobalNetworkPolicy p rule 0"

"""Kubernetes' own table of packets and verdicts, through conversion and all three engines."""

import json
from pathlib import Path

import pytest

from korat.core.model.builtin import initial
from korat.core.model.kubernetes import convert, decode_any, endpoint_of
from korat.core.model.pod import Pod
from korat.core.net.address import Addr
from korat.core.net.port import PORT_LAST, protocol_number
from korat.core.policy.cluster import Cluster
from korat.core.policy.evaluate import verdict
from korat.core.policy.match import Packet
from korat.core.policy.outcome import Action, Direction
from policy_world import NODE, judged

CASES = Path(__file__).resolve().parents[4] / ".." / "shared" / "cases" / "packets.jsonl"

#: Its policy has no ingress rule at all, which in Kubernetes' own words allows nothing; the
#: project that the table is from takes an empty list for everything.
DENIED_BY_KUBERNETES = {"allow all override deny ingress"}


#: Its rules ask for nodes, which Calico's dataplane does not know: they accept, and are left out.
UNKNOWN_PEERS = {"Allow Egress to the node": 2}


def rows(key):
    """The rows that have this key: those of one of the two kinds."""
    if not CASES.exists():
        return [pytest.param({}, marks=pytest.mark.skip(reason=f"{CASES.name} is not here"))]
    every = [json.loads(line) for line in CASES.read_text().splitlines()]
    return [pytest.param(row, id=row["name"]) for row in every if key in row]


def typed(raw, kind, version="v1"):
    return {"kind": kind, "apiVersion": version} | raw


def stored(number, raw):
    """The policy as an API server would have it: names legal and distinct, ports in range."""
    raw["metadata"]["name"] = f"{raw['metadata']['name'].lower()}-{number}"
    for part in (*raw["spec"].get("ingress", ()), *raw["spec"].get("egress", ())):
        for port in part.get("ports", ()):
            port.setdefault("protocol", "TCP")
            if "endPort" in port:
                port["endPort"] = min(port["endPort"], PORT_LAST)
    return typed(raw, "NetworkPolicy", "networking.k8s.io/v1")


def workload(number, raw):
    ips = [each["ip"] for each in raw["status"]["podIPs"]]
    (pod,) = convert(typed({k: raw[k] for k in ("metadata", "spec")}, "Pod"))
    assert isinstance(pod, Pod)
    return endpoint_of(pod, NODE, "", ips, f"cali{number}", "")


def resources(row):
    objects = [typed({"metadata": n["metadata"]}, "Namespace") for n in row["namespaces"]]
    # The table's pods may be in a namespace that it does not list; there it has no labels.
    listed = {n["metadata"]["name"] for n in row["namespaces"]}
    spaces = {pod["metadata"]["namespace"] for pod in row["pods"]} - listed
    objects += [typed({"metadata": {"name": name}}, "Namespace") for name in sorted(spaces)]
    if "wantAdmin" in row:
        version = "policy.networking.k8s.io/v1alpha2"
        objects += [typed(raw, "ClusterNetworkPolicy", version) for raw in row["policies"]]
    else:
        objects += [stored(number, raw) for number, raw in enumerate(row["policies"])]
    converted = [resource for each in objects for resource in decode_any(each)]
    return converted + [workload(i, pod) for i, pod in enumerate(row["pods"])]


@pytest.mark.parametrize("row", rows("expect"))
def test_packet(row):
    raw, world = row["packet"], resources(row)
    sent = Packet(
        Addr.parse(raw["SrcIP"]),
        Addr.parse(raw["DstIP"]),
        protocol_number(raw["Proto"]),
        raw["SrcPort"],
        raw["DstPort"],
    )
    cluster = Cluster.build(world)
    judgement = verdict(cluster, sent)
    expected = row["expect"] and row["name"] not in DENIED_BY_KUBERNETES
    assert (judgement.action is Action.ALLOW) == expected
    for direction, own in ((Direction.EGRESS, sent.src), (Direction.INGRESS, sent.dst)):
        if cluster.endpoint_at(own) is not None:
            judged(world, direction, sent)


@pytest.mark.parametrize("protocol", [1, 6, 17])
@pytest.mark.parametrize("row", rows("wantAdmin"))
def test_cluster_policy_packet(row, protocol):
    raw, world = row["packet"], [*initial("0" * 32, "1"), *resources(row)]
    sent = Packet(Addr.parse(raw["SrcIP"]), Addr.parse(raw["DstIP"]), protocol)
    problems = UNKNOWN_PEERS.get(row["name"], 0)
    outcomes = [
        judged(world, direction, sent, problems)
        for direction, own in ((Direction.EGRESS, sent.src), (Direction.INGRESS, sent.dst))
        if Cluster.build(world).endpoint_at(own) is not None
    ]
    assert outcomes
    denied = [outcome.ref.tier for outcome in outcomes if outcome.action is Action.DENY]
    expected = {"kube-admin": row["wantAdmin"], "kube-baseline": row["wantBaseline"]}
    assert denied == [tier for tier, allowed in expected.items() if not allowed]

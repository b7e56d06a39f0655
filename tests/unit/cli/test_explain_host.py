"""policy explain to and from a node that has host endpoints, from files alone."""

import io
import json

import pytest
from rich.console import Console

from korat.cli.explain_screen import drawn
from korat.cli.policy_source import read_snapshot
from korat.cli.question import Words, ask
from korat.cli.surroundings import surroundings

FILE = """\
apiVersion: projectcalico.org/v3
kind: Node
metadata: {name: vm1}
spec: {bgp: {ipv4Address: 10.10.0.4/24}}
---
apiVersion: projectcalico.org/v3
kind: HostEndpoint
metadata: {name: vm1-eth0, labels: {role: host}}
spec:
  node: vm1
  interfaceName: eth0
  expectedIPs: [10.10.0.4]
  ports: [{name: metrics, protocol: TCP, port: 9100}]
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: hosts}
spec:
  selector: role == 'host'
  ingress:
    - {action: Allow, protocol: TCP, destination: {ports: [9100]}}
"""
CASES = {
    "the node by name": (
        ("192.0.2.1", "vm1", "9100"),
        "allow",
        "default GlobalNetworkPolicy hosts rule 0",
    ),
    "its address": (
        ("192.0.2.1", "10.10.0.4", "metrics"),
        "allow",
        "default GlobalNetworkPolicy hosts rule 0",
    ),
    "a port that no rule has": (("192.0.2.1", "vm1", "80"), "deny", "default tier default"),
    "a failsafe port": (("192.0.2.1", "vm1", "22"), "allow", "failsafe 0"),
    "from the node": (("vm1", "192.0.2.1", "80"), "deny", "no profile matched"),
}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "hosts.yaml"
    path.write_text(FILE)
    return str(path)


@pytest.mark.parametrize(("words", "verdict", "who"), CASES.values(), ids=CASES)
def test_who_decides(korat, file, words, verdict, who):
    source, destination, port = words
    args = ("--from", source, "--to", destination, "--port", port, "-f", file, "-o", "json")
    found = json.loads(korat("policy", "explain", *args).out)
    side = found["ingress" if destination != "192.0.2.1" else "egress"]
    assert (found["verdict"], side["action"]) == (verdict, verdict)
    assert side["text"].endswith(who)
    assert {found["from"]["hostEndpoint"], found["to"]["hostEndpoint"]} == {None, "vm1-eth0"}


def test_the_screen_says_whose_policies_were_asked(file):
    snapshot = read_snapshot([file])
    text = []
    for port in ("22", "80"):
        asked = ask(snapshot.objects, snapshot.cluster, Words("192.0.2.1", "vm1", "TCP", port))
        around = surroundings(snapshot.objects, snapshot.cluster)
        answers = [around.between(each.packet) for each in asked]
        paper = io.StringIO()
        Console(file=paper, width=100).print(drawn(asked, answers, snapshot))
        text.append(paper.getvalue())
    assert "10.10.0.4 of HostEndpoint vm1-eth0 on vm1" in text[0]
    assert "a failsafe port of the node" in text[0]
    assert "no rule matched, and tier default denies" in text[1]


def test_a_node_without_host_endpoint_is_called_so(korat, tmp_path):
    path = tmp_path / "bare.yaml"
    path.write_text(FILE.partition("---\n")[0])
    words = ("--from", "192.0.2.1", "--to", "vm1", "--port", "80", "-f", str(path))
    said = korat("policy", "explain", *words).out
    assert "node vm1 has no host endpoint: policy does not hinder it" in said
    assert "leaving 192.0.2.1  no workload of this cluster" in said


@pytest.mark.parametrize("switches", ["", "doNotTrack: true, applyOnForward: true, "])
def test_the_host_endpoints_of_a_policy(korat, file, tmp_path, switches):
    path = tmp_path / "more.yaml"
    spec = f"{{selector: role == 'host', {switches}ingress: [{{action: Deny}}]}}"
    head = "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {name: p}\n"
    path.write_text(f"{head}spec: {spec}\n")
    words = ("policy", "explain", "--policy", "p", "-f", file, "-f", str(path))
    found = json.loads(korat(*words, "-o", "json").out)
    assert (found["ingress"]["hosts"], found["ingress"]["pods"]) == (["vm1-eth0"], [])
    assert found["egress"]["hosts"] == []
    said = korat(*words).out
    assert "0 pods, 1 host endpoint, 1 rule" in said
    assert "host endpoints vm1-eth0" in said


def test_an_unknown_node_is_refused(korat, file):
    result = korat(
        "policy", "explain", "--from", "192.0.2.1", "--to", "vm9", "--port", "1", "-f", file
    )
    assert result.code == 1
    assert "the name of a node" in result.err


def test_what_comes_before_dnat_is_told_with_its_rules(tmp_path):
    before = """---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: before}
spec:
  selector: role == 'host'
  preDNAT: true
  applyOnForward: true
  ingress:
    - {action: Deny, protocol: TCP, destination: {ports: [9000]}}
"""
    path = tmp_path / "all.yaml"
    path.write_text(FILE + before)
    snapshot = read_snapshot([str(path)])
    around = surroundings(snapshot.objects, snapshot.cluster)

    def screen(port):
        asked = ask(snapshot.objects, snapshot.cluster, Words("192.0.2.1", "vm1", "TCP", port))
        paper = io.StringIO()
        answers = [around.between(each.packet) for each in asked]
        Console(file=paper, width=80).print(drawn(asked, answers, snapshot))
        return paper.getvalue()

    assert "tier default  pre-DNAT policies of the node" in screen("9000")
    assert "deny  rule 0: Deny TCP to port 9000" in screen("9000")
    assert "nothing decided: on to the next tier or set" in screen("9100")
    assert max(map(len, screen("9100").splitlines())) <= 80

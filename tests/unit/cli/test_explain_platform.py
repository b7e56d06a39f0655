"""What the verbs about policy say of Azure's own addresses, from files alone."""

import json

import pytest

POD = """\
apiVersion: projectcalico.org/v3
kind: Node
metadata: {name: vm1, labels: {pool: trusted}}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop}
spec: {nodeName: vm1, containers: [{name: web, image: web}]}
---
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: open, namespace: shop}
spec: {types: [Egress], egress: [{action: Allow}]}
"""
SETTING = """\
---
apiVersion: projectcalico.org/v3
kind: FelixConfiguration
metadata: {name: default}
spec: {%s}
"""
WIRESERVER, METADATA = "168.63.129.16", "169.254.169.254"


@pytest.fixture
def explain(korat, tmp_path):
    def asked(to, setting="", port="80", *more):
        path = tmp_path / "shop.yaml"
        path.write_text(POD + (SETTING % setting if setting else ""))
        words = ("--from", "shop/web", "--to", to, "--protocol", "TCP", "--port", port)
        return korat("policy", "explain", *words, "-f", str(path), *more).out

    return asked


@pytest.mark.parametrize(
    ("to", "setting", "name"),
    [
        (WIRESERVER, "", "koratPodsToWireserver"),
        (METADATA, "koratPodsToInstanceMetadata: Refused", "koratPodsToInstanceMetadata"),
    ],
)
def test_explain_names_the_setting_and_how_to_allow(explain, to, setting, name):
    said = " ".join(explain(to, setting).split())
    assert "✘ denied shop/web" in said
    assert f"{name} is Refused" in said
    assert f"a FelixConfiguration with {name} Allowed lets them" in said
    assert "tier default" not in said
    found = json.loads(explain(to, setting, "80", "-o", "json"))
    assert (found["verdict"], found["egress"]["reason"]) == ("deny", name)
    assert found["egress"]["trace"] == []


@pytest.mark.parametrize(
    ("to", "setting", "port"),
    [
        (WIRESERVER, "koratPodsToWireserver: Allowed", "80"),
        (WIRESERVER, "", "53"),
        (METADATA, "", "80"),
    ],
)
def test_what_is_allowed_is_policys_matter(explain, to, setting, port):
    found = json.loads(explain(to, setting, port, "-o", "json"))
    assert (found["verdict"], found["egress"]["policy"]) == ("allow", "open")


@pytest.mark.parametrize(("expected", "code"), [("Deny", 0), ("Allow", 1)])
def test_a_users_test_can_hold_it(korat, tmp_path, expected, code):
    policies, cases = tmp_path / "shop.yaml", tmp_path / "cases.yaml"
    policies.write_text(POD)
    cases.write_text(f"[{{from: shop/web, to: {WIRESERVER}, port: 80, expect: {expected}}}]")
    done = korat("policy", "test", str(cases), "-f", str(policies))
    assert done.code == code
    if code:
        assert "koratPodsToWireserver is Refused" in " ".join(done.out.split())

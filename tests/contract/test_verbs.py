"""Calico's verbs against a store: its sentences, its exit codes, and nothing half done."""

import json

import pytest
import yaml

from cli_driver import policy
from korat.core.errors import Conflict
from korat.drivers.store.client import Client
from korat.drivers.store.memory import MemoryStore
from korat.drivers.tally import Tally, TallyServer

PROFILES = {"Profile kns.shop", "Profile ksa.shop.default"}
BUILT_IN = {
    "ClusterInformation default",
    "Tier default",
    "Tier kube-admin",
    "Tier kube-baseline",
}
POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: web, namespace: shop}\nspec: {containers: []}\n"
NAMESPACE = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n"
TIER = "apiVersion: projectcalico.org/v3\nkind: Tier\nmetadata: {name: t}\nspec: {order: 5}\n"
POOL = (
    "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: p}\n"
    "spec: {cidr: 10.20.0.0/16}\n"
)
KUBERNETES = (
    "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n"
    "metadata: {name: np, namespace: shop}\nspec: {podSelector: {}}\n"
)
SERVICES = """
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec: {selector: {app: db}, ports: [{port: 5432, targetPort: pg}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: db-1, namespace: shop, labels: {kubernetes.io/service-name: db}}
addressType: IPv4
endpoints: [{addresses: [192.0.2.5], conditions: {ready: true}}]
ports: [{port: 5432}]
"""


def ok(result, out="", err=""):
    assert (result.code, result.out, result.err) == (0, out, err)


def failed(result, err, code=1):
    assert (result.code, result.out, result.err) == (code, "", f"{err}\n")


@pytest.mark.parametrize(
    ("verb", "past", "there"),
    [
        ("create", "created", False),
        ("apply", "applied", False),
        ("apply", "applied", True),
        ("replace", "replaced", True),
        ("delete", "deleted", True),
    ],
)
def test_success(korat, verb, past, there):
    one, two = korat.file("a.yaml", policy("a")), korat.file("b.yaml", policy("b"))
    if there:
        korat("apply", "-f", one, "-f", two)
    ok(
        korat(verb, "-f", one, "-f", two),
        f"Successfully {past} 2 'NetworkPolicy' resource(s)\n",
    )
    policies = {"NetworkPolicy shop/a", "NetworkPolicy shop/b"}
    assert korat.stored() == BUILT_IN | (set() if verb == "delete" else policies)


def test_mixed_kinds_have_no_name(korat):
    path = korat.file("a.yaml", f"{policy('a', '{tier: t}')}---\n{TIER}")
    ok(korat("apply", "-f", path), "Successfully applied 2 resource(s)\n")
    ok(korat("delete", "-f", path), "Successfully deleted 2 resource(s)\n")


@pytest.mark.parametrize(
    ("verb", "files", "before", "expected"),
    [
        pytest.param(
            "create", [policy("a")], [policy("a")],
            "failed to create 'NetworkPolicy' resource: "
            "[resource already exists: NetworkPolicy(shop/a)]", id="exists"),
        pytest.param(
            "create", [policy("b"), policy("a")], [policy("a")],
            "failed to create any 'NetworkPolicy' resources: "
            "[resource already exists: NetworkPolicy(shop/a)]", id="one of two exists"),
        pytest.param(
            "replace", [policy("a"), TIER], [],
            "failed to replace any resources: [resource does not exist: NetworkPolicy(shop/a),\n"
            "  resource does not exist: Tier(t)]", id="replace nothing"),
        pytest.param(
            "delete", [policy("a")], [],
            "failed to delete 'NetworkPolicy' resource: "
            "[resource does not exist: NetworkPolicy(shop/a)]", id="delete nothing"),
        pytest.param(
            "apply", [policy("b"), policy("a", "{tier: nope}")], [],
            "failed to apply any 'NetworkPolicy' resources: [NetworkPolicy shop/a: "
            "spec.tier 'nope': "
            "there is no such tier; create it first, or use one of default, kube-admin, "
            "kube-baseline]", id="no tier"),
        pytest.param(
            "delete", [TIER], [TIER, policy("a", "{tier: t}")],
            "failed to delete 'Tier' resource: [Tier t: still has 1 policies "
            "(NetworkPolicy shop/a); delete them first]", id="tier in use"),
        pytest.param(
            "delete", [NAMESPACE], [NAMESPACE, POD],
            "failed to delete 'Namespace' resource: [Namespace shop: still has 1 pods (web); "
            "delete them first, or with the same files]", id="namespace in use"),
        pytest.param(
            "apply", [POOL.replace("10.20.0.0/16", "10.21.0.0/16")], [POOL],
            "failed to apply 'IPPool' resource: [IPPool p: spec.cidr '10.21.0.0/16': may not "
            "change, it is 10.20.0.0/16; make a new pool and disable this one]", id="pool moves"),
        pytest.param(
            "apply", [POOL, POOL.replace("name: p", "name: q")], [],
            "failed to apply any 'IPPool' resources: [IPPool p: spec.cidr '10.20.0.0/16': overlaps "
            "10.20.0.0/16 of IPPool q,\n  IPPool q: spec.cidr '10.20.0.0/16': overlaps "
            "10.20.0.0/16 of IPPool p]", id="pools of one file overlap"),
        pytest.param(
            "apply", [policy("a").replace("name: a", 'name: a, resourceVersion: "999"')],
            [policy("a")],
            "failed to apply 'NetworkPolicy' resource: [update conflict: NetworkPolicy(shop/a); "
            "get it again and repeat the change]", id="stale"),
        pytest.param(
            "create", [policy("a").replace("name: a", 'name: a, resourceVersion: "9"')], [],
            "failed to create 'NetworkPolicy' resource: [NetworkPolicy shop/a: "
            "metadata.resourceVersion '9': must not be set to create an object; `get --export` "
            "leaves it out]", id="versioned"),
        pytest.param(
            "apply", ["# nothing\n"], [], "failed to execute command: No resources specified",
            id="empty"),
    ],
)  # fmt: skip
def test_refusals_write_nothing(korat, verb, files, before, expected):
    for i, text in enumerate(before):
        korat("apply", "-f", korat.file(f"before{i}.yaml", text))
    stored = korat.stored()
    words = [w for i, text in enumerate(files) for w in ("-f", korat.file(f"{i}.yaml", text))]
    failed(korat(verb, *words), expected)
    assert korat.stored() == stored


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x: [", "is not YAML: did not find expected node content"),
        (policy("a", "{ordr: 5}"), (":4: NetworkPolicy shop/a: spec.ordr unknown field, did you "
         "mean order?")),
        (policy("a", "{selector: 'a ==='}"), ":4: NetworkPolicy shop/a: spec.selector 'a ===': "),
        (policy("knp.default.x"), ("kubernetes network policies must be managed through the "
         "kubernetes API; apply it as a networking.k8s.io/v1 NetworkPolicy")),
        ("kind: Fish\napiVersion: projectcalico.org/v3\n", ":1: Fish: kind 'Fish': unknown kind"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("verb", ["create", "apply", "replace", "delete", "validate"])
def test_bad_files_do_nothing(korat, verb, text, expected):
    result = korat(
        verb, "-f", korat.file("good.yaml", policy("b")), "-f", korat.file("a.yaml", text)
    )
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith("failed to execute command: ")
    assert expected in result.err
    assert result.err.count("\n") == 1
    assert not korat.path.exists()


def test_several_faults_stand_on_lines_of_their_own(korat):
    path = korat.file("a.yaml", f"{policy('a', '{ordr: 5}')}---\n{policy('b', '{tyer: 5}')}")
    result = korat("apply", "-f", path)
    assert result.err.split("\n")[0] == ("failed to execute command: 2 problems, nothing was done")
    assert result.err.count("\n  ") == 2


def test_validate_needs_no_store(korat):
    path = korat.file("a.yaml", policy("a"))
    ok(korat("validate", "-f", path), "Successfully validated 1 'NetworkPolicy' resource(s)\n")
    assert not korat.path.exists()


def test_tolerant_flags(korat):
    path, both = korat.file("a.yaml", policy("a")), korat.file("b.yaml", policy("b"))
    korat("create", "-f", path)
    assert korat("create", "-f", path, "-f", both, "--skip-exists").code == 0
    assert "NetworkPolicy shop/b" in korat.stored()
    korat("delete", "-f", path)
    assert korat("delete", "-f", path, "-f", both, "-s").code == 0
    assert korat.stored() == BUILT_IN
    ok(korat("apply", "-f", korat.file("c.yaml", ""), "--skip-empty"))


def test_delete_by_name(korat):
    korat("apply", "-f", korat.file("a.yaml", policy("a")), "-f", korat.file("b.yaml", policy("b")))
    failed(
        korat("delete", "np", "a", "nope", "-n", "shop"),
        "failed to delete any 'NetworkPolicy' resources: "
        "[resource does not exist: NetworkPolicy(shop/nope)]",
    )
    assert {"NetworkPolicy shop/a", "NetworkPolicy shop/b"} <= korat.stored()
    expected = "Successfully deleted 2 'NetworkPolicy' resource(s)\n"
    ok(korat("delete", "policies", "a", "b", "-n", "shop"), expected)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("tier", "default"), "operation delete is not supported on Tier(default): it is built in"),
        (("clusterinformation", "default"),
         "operation delete is not supported on ClusterInformation(default): it is built in"),
        (("profile", "projectcalico-default-allow"),
         ("operation delete is not supported on Profile(projectcalico-default-allow): it is "
          "built in")),
        (("np", "knp.default.np", "-n", "shop"), ("operation delete is not supported on "
         "NetworkPolicy(shop/knp.default.np): kubernetes network policies must be managed through "
         "the kubernetes API; use korat delete -f with its manifest")),
    ],
)  # fmt: skip
def test_what_may_not_be_deleted(korat, words, why):
    korat("apply", "-f", korat.file("a.yaml", KUBERNETES))
    stored = korat.stored()
    result = korat("delete", *words)
    assert result.code == 1
    assert result.err.rstrip().removesuffix("]").endswith(why)
    assert korat.stored() == stored


def test_kubernetes_objects_come_and_go(korat):
    path = korat.file("a.yaml", f"{POD}---\n{KUBERNETES}---\n{NAMESPACE}")
    ok(korat("apply", "-f", path), "Successfully applied 3 resource(s)\n")
    stored = BUILT_IN | PROFILES | {"Pod shop/web", "NetworkPolicy shop/knp.default.np"}
    assert korat.stored() == stored
    ok(korat("delete", "-f", path), "Successfully deleted 3 resource(s)\n")
    assert korat.stored() == BUILT_IN


def test_services_and_their_slices_come_and_go(korat):
    path = korat.file("a.yaml", SERVICES)
    ok(korat("apply", "-f", path), "Successfully applied 2 resource(s)\n")
    assert korat.stored() == BUILT_IN | {"Service shop/db", "EndpointSlice shop/db-1"}
    found = json.loads(korat("get", "svc", "db", "-n", "shop", "-o", "json").out)
    assert (found["apiVersion"], found["spec"]["ports"][0]["targetPort"]) == ("v1", "pg")
    for kind in ("services", "endpointslices"):
        before = korat("get", kind, "-A", "-o", "yaml")
        assert korat("apply", "-f", "-", stdin=before.out).code == 0
        assert korat("get", kind, "-A", "-o", "yaml") == before
    ok(korat("delete", "-f", path), "Successfully deleted 2 resource(s)\n")
    assert korat.stored() == BUILT_IN


def test_profiles_that_nobody_declared_are_named(korat):
    account = POD.replace("containers", "serviceAccountName: cook, containers")
    result = korat("apply", "-f", korat.file("a.yaml", account))
    ok(
        result,
        "Successfully applied 1 'Pod' resource(s)\n",
        "Pod shop/web: no Namespace shop was declared, so it was created without labels\n"
        "Pod shop/web: no ServiceAccount cook was declared, so it was created without labels\n",
    )
    assert korat.stored() == BUILT_IN | {
        "Profile kns.shop",
        "Profile ksa.shop.cook",
        "Pod shop/web",
    }


def test_what_is_printed_can_be_applied(korat):
    spec = (
        "{order: 1.5, ingress: [{action: Allow, protocol: tcp, destination: {ports: [80, '1:9']}}]}"
    )
    korat("apply", "-f", korat.file("a.yaml", f"{policy('a', spec)}---\n{policy('b')}---\n{POOL}"))
    for kind in ("np", "ippool", "tiers"):
        for output in ("yaml", "json"):
            before = korat("get", kind, "-A", "-o", output)
            assert korat("apply", "-f", "-", stdin=before.out).code == 0
            assert korat("get", kind, "-A", "-o", output) == before


def test_apply_keeps_identity_and_refuses_the_old_revision(korat):
    path = korat.file("a.yaml", policy("a"))
    korat("apply", "-f", path)
    first = korat("get", "np", "a", "-n", "shop", "-o", "yaml").out
    korat("apply", "-f", korat.file("b.yaml", policy("a", "{order: 7}")))
    one = yaml.safe_load(first)["metadata"]
    two = json.loads(korat("get", "np", "a", "-n", "shop", "-o", "json").out)["metadata"]
    assert (one["uid"], one["creationTimestamp"]) == (two["uid"], two["creationTimestamp"])
    assert int(two["resourceVersion"]) > int(one["resourceVersion"])
    assert "update conflict" in korat("apply", "-f", "-", stdin=first).err
    assert "update conflict" in korat("delete", "-f", "-", stdin=first).err


def test_get_prints_calicos_lists(korat):
    korat("apply", "-f", korat.file("a.yaml", policy("a")))
    shown = json.loads(korat("get", "networkpolicy", "-A", "-o", "json").out)
    assert (shown["kind"], shown["apiVersion"]) == ("NetworkPolicyList", "projectcalico.org/v3")
    assert [item["metadata"]["name"] for item in shown["items"]] == ["a"]
    assert (
        json.loads(korat("get", "weps", "-A", "-o", "json").out)["kind"] == "WorkloadEndpointList"
    )
    assert json.loads(korat("get", "pods", "-A", "-o", "json").out)["apiVersion"] == "v1"
    single = json.loads(korat("get", "np", "a", "-n", "shop", "-o", "json", "--export").out)
    assert single["metadata"] == {
        "name": "a", "namespace": "shop", "labels": {"projectcalico.org/tier": "default"}
    }  # fmt: skip


def test_get_wide_sums_what_the_nodes_agent_has_counted(korat):
    """A policy's rules of both directions; a tier's default action; nothing of other objects."""
    file = korat.file("a.yaml", policy("a", "{order: 3, selector: x == 'y'}"))
    korat("apply", "-f", file)

    def tally(direction, kind, name, packets, namespace=""):
        action = ("Deny", False, packets, packets * 60)
        return Tally(direction, "default", kind, namespace, name, "0", *action)

    server = TallyServer(
        korat.folder,
        lambda: [
            tally("ingress", "NetworkPolicy", "a", 3, "shop"),
            tally("egress", "NetworkPolicy", "a", 4, "shop"),
            tally("ingress", "NetworkPolicy", "a", 100, "other"),
            tally("ingress", "Tier", "default", 9),
            tally("ingress", "StagedNetworkPolicy", "a", 2, "shop"),
        ],
    )
    try:
        seven = "NAME   TIER      ORDER   SELECTOR   PACKETS   BYTES\n"
        seven += "a      default   3       x == 'y'   7         420\n"
        ok(korat("get", "np", "a", "-n", "shop", "-o", "wide"), seven)
        assert korat("get", "-f", file, "-o", "wide").out.split()[-2:] == ["7", "420"]
        tiers = [line.split() for line in korat("get", "tiers", "-o", "wide").out.splitlines()]
        assert ["default", "1000000", "9", "540"] in tiers
        assert ["kube-admin", "1000", "0", "0"] in tiers
        ok(korat("get", "np", "a", "-n", "shop"), "NAME   TIER\na      default\n")
        staged = policy("a", "{order: 3}").replace("NetworkPolicy", "StagedNetworkPolicy")
        korat("apply", "-f", korat.file("staged.yaml", staged))
        wide = korat("get", "snp", "a", "-n", "shop", "-o", "wide").out.split()
        assert (wide[-2:], wide[4:6]) == (["2", "120"], ["PACKETS", "BYTES"])
        ok(korat("get", "nodes", "-o", "wide"), "NAME   ASN   IPV4   IPV6\n")
    finally:
        server.close()


def test_get_prints_tables(korat):
    korat("apply", "-f", korat.file("a.yaml", policy("a", "{order: 3, selector: x == 'y'}")))
    ok(korat("get", "np"), "NAME   TIER\n")
    ok(korat("get", "np", "-n", "shop"), "NAME   TIER\na      default\n")
    ok(korat("get", "np", "-A"), "NAMESPACE   NAME   TIER\nshop        a      default\n")
    wide = (
        "NAME   TIER      ORDER   SELECTOR   PACKETS   BYTES\n"
        "a      default   3       x == 'y'   -         -\n"
    )
    ok(korat("get", "np", "a", "-n", "shop", "-o", "wide"), wide)
    custom = korat("get", "np", "-n", "shop", "-o", "custom-columns=ORDER,NAME")
    ok(custom, "ORDER   NAME\n3       a\n")
    tiers = "NAME            ORDER\nkube-admin      1000\ndefault         1000000\n"
    ok(korat("get", "tiers"), f"{tiers}kube-baseline   10000000\n")
    ok(korat("get", "profile"), "NAME\nprojectcalico-default-allow\n")


def test_get_what_files_name(korat):
    path = korat.file("a.yaml", f"{NAMESPACE}---\n{policy('a')}---\n{TIER}")
    korat("apply", "-f", path)
    expected = "NAME\nkns.shop\n\nNAMESPACE   NAME   TIER\nshop        a      default\n\n"
    ok(korat("get", "-f", path), f"{expected}NAME   ORDER\nt      5\n")
    shown = json.loads(korat("get", "-f", path, "-o", "json").out)
    assert [value["kind"] for value in shown] == ["Profile", "NetworkPolicy", "Tier"]
    assert yaml.safe_load(korat("get", "-f", path, "-o", "yaml").out) == shown
    failed(
        korat("get", "-f", "/no.yaml"),
        "failed to execute command: /no.yaml: cannot be read: no such file or directory",
    )


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("get", "np", "x"), "resource does not exist: NetworkPolicy(default/x)"),
        (("get", "fish"), "'fish': resource type is not supported; there are "),
        (("get", "netwrkpolicy"), ("'netwrkpolicy': resource type is not supported, did you mean "
         "NetworkPolicy?")),
        (("get", "namespaces"), ("'namespaces': resource type is not supported; it is kept as "
         "Profile kns.NAMESPACE: korat get profiles")),
        (("get", "np", "-o", "xml"), "-o 'xml': no such output format; there are "),
        (("get", "np", "-o", "custom-columns=A"), ("-o custom-columns 'A': NetworkPolicy has no "
         "such column; there are NAME, TIER, ORDER, SELECTOR")),
        (("delete", "fish", "x"), "'fish': resource type is not supported"),
        (("label", "np", "x", "a=b"), "resource does not exist: NetworkPolicy(default/x)"),
        (("patch", "np", "x", "-p", "{}"), ("failed to patch 'NetworkPolicy' resource: "
         "[resource does not exist: NetworkPolicy(default/x)]")),
    ],
)  # fmt: skip
def test_one_sentence_for_what_is_not_there(korat, words, expected):
    result = korat(*words)
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith(expected)
    assert result.err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("delete",), "give either KIND NAME... or -f FILE"),
        (("delete", "np"), "give either KIND NAME... or -f FILE"),
        (("get",), "give either KIND [NAME...] or -f FILE"),
        (("apply",), "Missing option"),
        (("aply",), "No such command 'aply'. Did you mean 'apply', 'policy'?"),
        (("label", "np", "x", "a"), "give KEY=VALUE, or KEY --remove"),
        (("patch", "np", "x", "-p", "{}", "-t", "fish"), "Invalid value"),
    ],
)
def test_wrong_usage(korat, words, expected):
    result = korat(*words)
    assert (result.code, result.out) == (2, "")
    assert expected in result.err
    assert "--help" in result.err


def test_labels(korat):
    korat("apply", "-f", korat.file("a.yaml", policy("a")))
    at = ("label", "np", "a", "-n", "shop")
    ok(korat(*at, "x=1"), "Successfully set label x on NetworkPolicy a\n")
    failed(
        korat(*at, "x=2"),
        "failed to update label of NetworkPolicy a, key x is already present. "
        "please use '--overwrite' to set a new value.",
    )
    ok(korat(*at, "x=2", "--overwrite"), "Successfully updated label x on NetworkPolicy a\n")
    ok(korat(*at, "x", "--remove"), "Successfully removed label x from NetworkPolicy a\n")
    missing = "can not remove label of NetworkPolicy a, key x does not exist"
    failed(korat(*at, "x", "--remove"), missing)


@pytest.mark.parametrize(
    ("change", "form", "expected"),
    [
        ('{"spec": {"order": 9}}', "merge", {"order": 9}),
        ('{"spec": {"order": 9}}', "strategic", {"order": 9}),
        ('[{"op": "add", "path": "/spec/order", "value": 9}]', "json", {"order": 9}),
        ('{"spec": {"order": null}}', "merge", {}),
    ],
)
def test_patches(korat, change, form, expected):
    korat("apply", "-f", korat.file("a.yaml", policy("a", "{order: 4}")))
    done = korat("patch", "np", "a", "-n", "shop", "-p", change, "-t", form)
    ok(done, "Successfully patched 1 'NetworkPolicy' resource\n")
    spec = json.loads(korat("get", "np", "a", "-n", "shop", "-o", "json").out)["spec"]
    assert spec == {"tier": "default", **expected, "types": ["Ingress"]}


@pytest.mark.parametrize(
    ("change", "form", "why"),
    [
        ("{", "merge", "the patch: '{': is not JSON"),
        ('{"spec": {"ordr": 9}}', "merge", "spec.ordr unknown field"),
        ('{"spec": {"tier": "no"}}', "merge", "spec.tier 'no': there is no such tier"),
        ('{"metadata": {"name": "b"}}', "merge", "a patch cannot rename an object or move it"),
        ("{}", "json", "a JSON patch is a list of steps"),
        ('[{"op": "remove", "path": "/spec/x"}]', "json", "there is nothing at this path"),
    ],
)
def test_patches_that_cannot_be(korat, change, form, why):
    korat("apply", "-f", korat.file("a.yaml", policy("a")))
    before = korat("get", "np", "-A", "-o", "json").out
    result = korat("patch", "np", "a", "-n", "shop", "-p", change, "-t", form)
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith("failed to patch 'NetworkPolicy' resource: [")
    assert why in result.err
    assert korat("get", "np", "-A", "-o", "json").out == before


class Contended(MemoryStore):
    """A store in which somebody else creates policy b at the very moment."""

    def create(self, key, value):
        if key.name == "b":
            raise Conflict("there already")
        return super().create(key, value)


@pytest.mark.parametrize(
    ("names", "out", "err"),
    [
        (
            "acb",
            "Partial success: created the first 2 out of 3 'NetworkPolicy' resources:\n",
            "hit error: [resource already exists: NetworkPolicy(shop/b)]\n",
        ),
        (
            "b",
            "",
            (
                "failed to create 'NetworkPolicy' resource: "
                "[resource already exists: NetworkPolicy(shop/b)]\n"
            ),
        ),
    ],
)
def test_a_conflict_in_the_middle_is_told(korat, monkeypatch, names, out, err):
    monkeypatch.setattr("korat.cli.verbs.connect", lambda _: Client(Contended()))
    path = korat.file("a.yaml", "---\n".join(policy(name) for name in names))
    result = korat("create", "-f", path)
    assert (result.code, result.out, result.err) == (1, out, err)

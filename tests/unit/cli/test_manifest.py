"""Files to resources: what counts as a file, as an object, and every fault with its place."""

import sys

import pytest

from cli_driver import policy
from korat.cli.manifest import MAX_BYTES, read
from korat.core.errors import Invalid


@pytest.fixture
def file(tmp_path):
    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    return write


def titles(items):
    return [resource.title for item in items for resource in item.resources]


def faults(tmp_path, *sources, **options):
    with pytest.raises(Invalid) as caught:
        read(sources, **options)
    return str(caught.value).replace(f"{tmp_path}/", "").split("\n")


def test_several_documents_and_lists(file):
    listed = '{"kind": "List", "apiVersion": "v1", "items": [%s]}' % (  # noqa: UP031 - braces
        '{"kind": "Tier", "apiVersion": "projectcalico.org/v3", "metadata": {"name": "t"}}'
    )
    kept = (
        "kind: NetworkPolicyList\napiVersion: projectcalico.org/v3\n"
        "items:\n- metadata: {name: c}\n  spec: {}\n"
    )
    path = file("a.yaml", f"{policy('a')}---\n{policy('b')}---\n{kept}")
    expected = ["NetworkPolicy shop/a", "NetworkPolicy shop/b", "NetworkPolicy default/c", "Tier t"]
    assert titles(read([path, file("b.json", listed)])) == expected


def test_a_list_at_the_top(file):
    first, second = (policy(name).replace("\n", "\n  ").rstrip() for name in "ab")
    path = file("a.yaml", f"- {first}\n- {second}\n")
    assert titles(read([path])) == ["NetworkPolicy shop/a", "NetworkPolicy shop/b"]


def test_the_namespace_of_the_command_line_is_for_those_without(file):
    bare = policy("a").replace(", namespace: shop", "")
    path = file("a.yaml", f"{bare}---\n{policy('b')}")
    expected = ["NetworkPolicy x/a", "NetworkPolicy shop/b"]
    assert titles(read([path], "x")) == expected


def test_folders(file, tmp_path):
    file("d/b.yml", policy("b"))
    file("d/a.yaml", policy("a"))
    file("d/README.md", "no manifest")
    file(
        "d/deep/c.json",
        '{"kind":"Tier","apiVersion":"projectcalico.org/v3","metadata":{"name":"c"}}',
    )
    folder = str(tmp_path / "d")
    assert titles(read([folder])) == ["NetworkPolicy shop/a", "NetworkPolicy shop/b"]
    assert titles(read([folder], recursive=True))[-1] == "Tier c"


def test_kubernetes_objects_become_calicos(file):
    path = file(
        "a.yaml",
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {team: x}}\n---\n"
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n"
        "metadata: {name: np, namespace: shop}\nspec: {podSelector: {}}\n",
    )
    items = read([path])
    assert titles(items) == ["Profile kns.shop", "NetworkPolicy shop/knp.default.np"]
    assert [item.kind for item in items] == ["Namespace", "NetworkPolicy"]


def test_the_same_object_twice_counts_once(file):
    assert len(read([file("a.yaml", policy("a")), file("b.yaml", policy("a"))])) == 1


def test_two_objects_of_one_name(file, tmp_path):
    other = policy("a", "{order: 1}")
    assert faults(tmp_path, file("a.yaml", policy("a")), file("b.yaml", other)) == [
        "b.yaml:1: NetworkPolicy shop/a: stands twice with different content, first at a.yaml:1"
    ]


def test_every_fault_of_every_file(file, tmp_path):
    first = policy("a", "\n  ordr: 5\n  ingress:\n  - action: Alow\n    protocol: 300")
    second = f"{policy('ok')}---\nkind: Fish\napiVersion: projectcalico.org/v3\n"
    found = faults(tmp_path, file("a.yaml", first), file("b.yaml", second), file("c.yaml", "x: ["))
    lines = [line.split(" ", 1)[0] for line in found]
    assert lines == ["a.yaml:5:", "a.yaml:7:", "a.yaml:8:", "b.yaml:6", "c.yaml:2:"]
    assert found[0] == (
        "a.yaml:5: NetworkPolicy shop/a: spec.ordr unknown field, did you mean order?"
    )
    assert found[3].startswith("b.yaml:6 (document 2): Fish: kind 'Fish': ")


def test_every_fault_of_one_object(file, tmp_path):
    path = file("a.yaml", policy("a", "\n  selector: 'a =='\n  ingress:\n  - action: Alow"))
    found = faults(tmp_path, path)
    assert [line.split(" ", 1)[0] for line in found] == ["a.yaml:5:", "a.yaml:7:"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("just text\n", ("a.yaml:1: 'just text': an object must be a mapping with apiVersion, kind "
         "and metadata")),
        (b"a: \xff\n", "a.yaml:1: is not UTF-8 text"),
        (b"x" * (MAX_BYTES + 1), "a.yaml: is larger than 32 MiB; split it"),
        ("kind: Pod\napiVersion: v2\nmetadata: {name: x}\n",
         "a.yaml:2: Pod x: apiVersion 'v2': must be v1 for a Pod"),
        (("apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: p}\n"
         "spec: {cidr: 10.0.0.0/16, ipipMode: Always}\n"),
         "a.yaml:4: IPPool p: spec.ipipMode 'Always': "),
    ],
)  # fmt: skip
def test_refuses(file, tmp_path, content, expected):
    found = faults(tmp_path, file("a.yaml", content))
    assert len(found) == 1
    assert found[0].startswith(expected)


def test_files_that_are_not_there(tmp_path):
    (tmp_path / "empty").mkdir()
    found = faults(tmp_path, str(tmp_path / "no.yaml"), str(tmp_path / "empty"))
    assert found == [
        "no.yaml: cannot be read: no such file or directory",
        "empty: holds no .yaml, .yml, .json file (-R looks into its folders too)",
    ]


def test_standard_input(monkeypatch, tmp_path):
    read_end = tmp_path / "in"
    read_end.write_text(policy("a"))
    with read_end.open() as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        assert titles(read(["-"])) == ["NetworkPolicy shop/a"]

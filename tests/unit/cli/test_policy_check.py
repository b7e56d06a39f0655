"""policy test: files of tests, every fault of theirs, the answers, JUnit XML and exit codes."""

import io
import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import yaml
from rich.console import Console

from cli_driver import policy
from korat.cli.policy_case import read_cases
from korat.cli.policy_check import check
from korat.cli.policy_check_screen import drawn
from korat.cli.policy_source import read_snapshot
from korat.core.model.kubernetes.workload import endpoint_of, interface_name

ROOT = Path(__file__).resolve().parents[3]
POD = """
apiVersion: v1
kind: Pod
metadata: {name: %s, namespace: shop, labels: {app: %s}}
spec: {containers: [{name: c, ports: [{name: pg, containerPort: 5432}]}]}
"""
SPACE = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n"
ONLY_CART = """
  selector: app == 'db'
  ingress:
    - action: Allow
      protocol: TCP
      source: {selector: app == 'cart'}
      destination: {ports: [pg]}
    - {action: Allow, protocol: ICMP, icmp: {type: 8}}
    - {action: Allow, protocol: UDP, source: {ports: [53]}}"""
WORLD = "---".join([SPACE, *(POD % (n, n) for n in ("web", "cart", "db"))])
SHOP = f"{WORLD}---\n{policy('only-cart', ONLY_CART)}"
GOOD = """\
- {name: the cart may, from: shop/cart, to: shop/db, port: pg, expect: allow}
- {from: shop/web, to: shop/db, port: 5432, expect: deny}
- {from: shop/cart, to: shop/db, protocol: udp, port: 5432, expect: Deny}
- {from: shop/web, to: shop/db, protocol: ICMP, expect: allow}
- {from: shop/web, to: shop/db, protocol: ICMP, icmpType: 3, icmpCode: 1, expect: deny}
- {from: shop/web, to: shop/db, protocol: UDP, port: 9, sourcePort: 53, expect: allow}
- {from: 203.0.113.1, to: shop/web, port: 80, ipVersion: 4, expect: allow}
"""
BAD = """\
- {from: shop/cart, to: shop/db, port: pg, expect: allow}
- name: the front does not
  from: shop/web
  to: shop/db
  port: pg
  expect: allow
"""


@pytest.fixture(name="world")
def _world(korat, monkeypatch):
    """The files of the shop, in the folder where the program runs."""
    monkeypatch.chdir(korat.folder)
    korat.file("shop.yaml", SHOP)
    return korat


def line_of(text):
    return SHOP.splitlines().index(text) + 1


def run(korat, *words, stdin=""):
    result = korat("policy", "test", *words, "-f", "shop.yaml", stdin=stdin)
    assert not korat.path.exists()
    return result


def junit(korat, *words):
    """Run, and read the report as Jenkins, GitLab and Azure Pipelines do."""
    result = run(korat, *words, "--junit", "report.xml")
    return result, ET.fromstring((korat.folder / "report.xml").read_bytes())  # noqa: S314 - ours


def test_all_as_expected(world):
    world.file("t.yaml", GOOD)
    result = run(world, "t.yaml")
    assert (result.code, result.out, result.err) == (0, "✔ 7 tests: all as expected\n", "")


def test_what_is_not_as_expected_has_its_line_and_the_rule(world):
    world.file("t.yaml", BAD)
    result = run(world, "t.yaml")
    assert (result.code, result.err) == (1, "")
    assert (
        result.out
        == """\
✘ the front does not  t.yaml:2
├── shop/web → shop/db TCP 5432: expected allow, but it is denied
└── ingress: no rule of tier default matches, which denies

✘ 2 tests: 1 as expected, 1 not
"""
    )


def test_what_is_allowed_against_expectation_names_both_sides(world):
    world.file("t.yaml", "- {from: shop/cart, to: shop/db, port: pg, expect: deny}")
    assert run(world, "t.yaml").out.splitlines() == [
        "✘ shop/cart → shop/db TCP pg  t.yaml:1",
        "├── shop/cart → shop/db TCP 5432: expected deny, but it is allowed",
        "├── egress: Profile kns.shop rule 0: Allow  shop.yaml:1",
        (
            "└── ingress: NetworkPolicy shop/only-cart rule 0: Allow TCP from app == 'cart' "
            "to port pg"
            f"  shop.yaml:{line_of('    - action: Allow')}"
        ),
        "",
        "✘ 1 test: 0 as expected, 1 not",
    ]


def test_against_the_store(world):
    assert world("apply", "-f", "shop.yaml").code == 0
    client = world.client()
    for i, pod in enumerate(client.read(["Pod"]).of("Pod")):
        name = pod.metadata.name
        at = [f"10.0.0.{i + 1}/32"]
        client.create(endpoint_of(pod, "vm1", "c", at, interface_name("shop", name), ""))
    client.store.close()
    good, bad = world.file("good.yaml", GOOD), world.file("bad.yaml", BAD)
    assert world("policy", "test", good).code == 0
    failed = world("policy", "test", good, bad)
    assert failed.code == 1
    assert failed.out.endswith("✘ 9 tests: 8 as expected, 1 not\n")
    assert "shop.yaml" not in failed.out


def test_json_for_scripts(world):
    world.file("t.yaml", BAD)
    result = run(world, "t.yaml", "-o", "json")
    assert (result.code, result.err) == (1, "")
    found = json.loads(result.out)
    assert (found["tests"], found["failures"]) == (2, 1)
    good, bad = found["results"]
    assert (good["name"], good["place"]) == ("shop/cart → shop/db TCP pg", "t.yaml:1")
    assert (good["passed"], good["expect"], good["verdict"]) == (True, "allow", "allow")
    assert (bad["from"], bad["to"], bad["protocol"], bad["port"]) == (
        "shop/web",
        "shop/db",
        "TCP",
        5432,
    )
    assert (bad["passed"], bad["expect"], bad["verdict"]) == (False, "allow", "deny")
    assert bad["ingress"] == {
        "action": "deny",
        "rule": "ingress default tier default",
        "place": None,
    }
    assert good["ingress"]["place"] == f"shop.yaml:{line_of('    - action: Allow')}"
    assert yaml.safe_load(run(world, "t.yaml", "-o", "yaml").out) == found


def test_standard_input_and_several_files(world):
    world.file("t.yaml", GOOD)
    result = run(world, "t.yaml", "-", stdin=BAD)
    assert result.code == 1
    assert "✘ the front does not  standard input:2\n" in result.out
    assert result.out.endswith("✘ 9 tests: 8 as expected, 1 not\n")
    twice = run(world, "-", "-", stdin=BAD)
    assert (twice.code, twice.out) == (2, "")
    assert "standard input can be read only once" in twice.err


def test_a_folder_a_mapping_json_and_several_documents_are_fine(world):
    world.file("all/a.yaml", f"tests:\n{GOOD}---\n{GOOD}")
    world.file("all/b.json", json.dumps(yaml.safe_load(GOOD)))
    world.file("all/notes.txt", "not a test")
    result = run(world, "all", "-o", "json")
    assert result.code == 0
    places = [each["place"] for each in json.loads(result.out)["results"]]
    assert places[:2] == ["all/a.yaml:2", "all/a.yaml:3"]
    assert places[7] == "all/a.yaml:10"
    assert places[14] == "all/b.json:1"
    assert len(places) == 3 * 7


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("", ["t.yaml: holds no test"]),
        ("[]", ["t.yaml: holds no test"]),
        ("tests: []", ["t.yaml: holds no test"]),
        ("# only talk\n", ["t.yaml: holds no test"]),
        ("kind: Pod", [("t.yaml:1: tests are a list of {from, to, port, expect}, or a mapping with "
         "tests")]),
        ("tests: 1", [("t.yaml:1: tests are a list of {from, to, port, expect}, or a mapping with "
         "tests")]),
        ("- a: [", ["t.yaml:2: is not YAML: "]),
        ("- [from, to]", [("t.yaml:1: ['from', 'to']: a test is a mapping with from, to, port and "
         "expect")]),
        ("- from: shop/web\n- {}\n", ["t.yaml:1: to is missing", "t.yaml:1: expect is missing",
         "t.yaml:2: from is missing", "t.yaml:2: to is missing", "t.yaml:2: expect is missing"]),
        ("- from: shop/web\n  to: 10\n  expects: allow\n  expect: maybe\n  port: 1.5\n  name: [a]",
         ["t.yaml:2: to 10: must be text; write it in quotes",
          "t.yaml:3: expects unknown field, did you mean expect?",
          "t.yaml:4: expect 'maybe': must be allow or deny",
          "t.yaml:5: port 1.5: must be text or a whole number",
          "t.yaml:6: name ['a']: must be text"]),
        ("- {from: a/b, to: a/b, expect: yes, port: true, zzz: 1}",
         ["t.yaml:1: expect True: must be allow or deny",
          "t.yaml:1: port True: must be text or a whole number",
          ("t.yaml:1: zzz unknown field, there are name, from, to, protocol, port, sourcePort, "
          "icmpType, icmpCode, ipVersion, expect")]),
        ("- {from: a/b, from: c/d}", ["t.yaml:1: from stands twice in one mapping, first "]),
    ],
)  # fmt: skip
def test_every_fault_of_a_file_with_its_line(world, text, faults):
    world.file("t.yaml", text)
    result = run(world, "t.yaml", "--junit", "report.xml")
    assert (result.code, result.out) == (1, "")
    said = result.err.splitlines()
    assert len(said) == len(faults)
    for line, fault in zip(said, faults, strict=True):
        assert line.startswith(fault)
    assert not (world.folder / "report.xml").exists()


def test_the_faults_of_all_files_come_out_together(world):
    world.file("a.yaml", "- {from: x}")
    world.file("b.yaml", "")
    result = run(world, "a.yaml", "b.yaml", "c.yaml")
    assert (result.code, result.out) == (1, "")
    assert result.err.splitlines() == [
        "a.yaml:1: to is missing",
        "a.yaml:1: expect is missing",
        "b.yaml: holds no test",
        "c.yaml: cannot be read: no such file or directory",
    ]


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ("from: shop/wep, to: shop/db, port: 1",
         "t.yaml:2: there is no pod shop/wep; did you mean shop/web?"),
        ("from: web, to: shop/db, port: 1",
         "t.yaml:2: from 'web': give NAMESPACE/POD, an address, or the name of a node"),
        ('from: shop/web, to: "", port: 1',
         "t.yaml:2: to '': give NAMESPACE/POD, an address, or the name of a node"),
        ("from: shop/web, to: shop/db", "t.yaml:2: port is needed for TCP"),
        ("from: shop/web, to: shop/db, port: 0", "t.yaml:2: port '0': ports go from 1 to 65535"),
        ("from: shop/web, to: shop/db, port: http",
         "t.yaml:2: shop/db names no TCP port http; there are pg (5432)"),
        ("from: shop/web, to: shop/db, protocol: TPC, port: 1",
         ("t.yaml:2: protocol 'TPC': is neither TCP, UDP, ICMP, ICMPv6, SCTP, UDPLite nor a number "
         "up to 255")),
        ("from: shop/web, to: shop/db, port: 1, icmpType: 8",
         "t.yaml:2: icmpType '8': TCP has none; say --protocol ICMP or ICMPv6"),
        ("from: shop/web, to: shop/db, port: 1, ipVersion: 6",
         "t.yaml:2: ipVersion '6': shop/web has no IPv6 address"),
        ("from: shop/web, to: shop/db, port: 1, sourcePort: 65536",
         "t.yaml:2: sourcePort '65536': ports go from 1 to 65535"),
    ],
)  # fmt: skip
def test_a_question_that_cannot_be_asked_is_a_fault_at_its_line(world, fields, fault):
    good = "from: shop/web, to: shop/db, port: 1, expect: deny"
    world.file("t.yaml", f"- {{{good}}}\n- {{{fields}, expect: deny}}\n- {{{good}}}\n")
    result = run(world, "t.yaml", "--junit", "report.xml")
    assert (result.code, result.out, result.err) == (1, "", f"{fault}\n")
    assert not (world.folder / "report.xml").exists()


def test_every_question_that_cannot_be_asked_is_told(world):
    world.file("t.yaml", "- {from: a/b, to: a/c, port: 1, expect: deny}\n" * 3)
    assert [line.split()[0] for line in run(world, "t.yaml").err.splitlines()] == [
        "t.yaml:1:",
        "t.yaml:2:",
        "t.yaml:3:",
    ]


def test_over_both_ip_versions_unless_one_is_said(world):
    dual = WORLD.replace("spec: {", "status: {podIPs: [{ip: 10.0.0.1}, {ip: 'fd00::1'}]}\nspec: {")
    for i in range(3):
        dual = dual.replace("10.0.0.1}, {ip: 'fd00::1'", f"10.0.1.{i}}}, {{ip: 'fd00::1:{i}'", 1)
    rule = "{ingress: [{action: Deny, ipVersion: 6, protocol: TCP}, {action: Allow}]}"
    world.file("shop.yaml", f"{dual}---\n{policy('four', rule)}")
    asked = "- {from: shop/web, to: shop/db, port: 80, expect: allow%s}\n"
    world.file("t.yaml", asked % "" + asked % ", ipVersion: 4" + asked % ", ipVersion: 6")
    result = run(world, "t.yaml")
    assert result.code == 1
    assert [line for line in result.out.splitlines() if "expected" in line] == [
        "├── shop/web → shop/db TCP 80 over IPv6: expected allow, but it is denied",
        "├── shop/web → shop/db TCP 80: expected allow, but it is denied",
        "✘ 3 tests: 1 as expected, 2 not",
    ]


# -- JUnit


def told(root):
    """What the readers take: counts of suites and the state of each case.

    Jenkins counts cases itself and takes a failure's message and text; GitLab reads classname,
    name, file, time and the failure; Azure Pipelines reads the suites' own counts too.
    """
    assert root.tag == "testsuites"
    for suite in (root, *root):
        cases = list(suite.iter("testcase"))
        failed = [case for case in cases if case.find("failure") is not None]
        assert (int(suite.get("tests")), int(suite.get("failures"))) == (len(cases), len(failed))
        assert (suite.get("errors"), suite.get("skipped")) == ("0", "0")
        assert float(suite.get("time")) >= 0
    for case in root.iter("testcase"):
        assert case.get("name")
        assert case.get("classname") == case.get("file")
        assert int(case.get("line")) > 0
        assert float(case.get("time")) >= 0
        assert [child.tag for child in case] in ([], ["failure"])
    assert {suite.tag for suite in root} == {"testsuite"}
    return {
        suite.get("name"): {case.get("name"): case.find("failure") for case in suite}
        for suite in root
    }


def test_junit_has_a_suite_per_file_and_a_case_per_test(world):
    world.file("good.yaml", GOOD)
    world.file("bad.yaml", BAD)
    result, root = junit(world, "good.yaml", "bad.yaml")
    assert result.code == 1
    assert result.out.endswith("✘ 9 tests: 8 as expected, 1 not\n")
    suites = told(root)
    assert list(suites) == ["good.yaml", "bad.yaml"]
    assert (len(suites["good.yaml"]), set(suites["good.yaml"].values())) == (7, {None})
    failure = suites["bad.yaml"]["the front does not"]
    assert failure.get("message") == "expected allow, but it is denied"
    assert failure.get("type") == "policy"
    assert failure.text.splitlines() == [
        "shop/web → shop/db TCP 5432: expected allow, but it is denied",
        "ingress: no rule of tier default matches, which denies",
        "bad.yaml:2",
    ]
    assert suites["bad.yaml"]["shop/cart → shop/db TCP pg"] is None


def test_junit_is_written_when_all_is_well_too(world):
    world.file("good.yaml", GOOD)
    result, root = junit(world, "good.yaml", "-o", "json")
    assert result.code == 0
    assert json.loads(result.out)["failures"] == 0
    assert (root.get("tests"), root.get("failures")) == ("7", "0")
    head = (world.folder / "report.xml").read_bytes().splitlines()[0]
    assert head == b"<?xml version='1.0' encoding='utf-8'?>"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("<b> & \"c\" 'd' ]]>", "<b> & \"c\" 'd' ]]>"),
        ("tab\tnew\nline\rback", "tab\tnew\nline\rback"),
        ("nul\0bell\a escape\x1b", "nul\ufffdbell\ufffd escape\ufffd"),
        ("half \ud83d a smile \U0001f600", "half \ufffd a smile \U0001f600"),
        ("\ufffe\uffff ok", "\ufffd\ufffd ok"),
        ("]]> <!-- --> <?x?> &amp;", "]]> <!-- --> <?x?> &amp;"),
    ],
)
def test_junit_holds_any_name(world, name, expected):
    case = {"name": name, "from": "shop/web", "to": "shop/db", "port": 1, "expect": "allow"}
    world.file("t.json", json.dumps([case]))
    result, root = junit(world, "t.json", "-o", "json")
    assert result.code == 1
    (suite,) = told(root).values()
    assert list(suite) == [expected]


def test_junit_holds_a_rule_with_any_characters(world):
    rule = {"action": "Deny", "source": {"selector": 'evil != "<&]]>\'"'}}
    world.file("shop.yaml", f"{WORLD}---\n{policy('p', json.dumps({'ingress': [rule]}))}")
    world.file("t.yaml", "- {from: shop/web, to: shop/db, port: pg, expect: allow}")
    _, root = junit(world, "t.yaml")
    (failure,) = [each for suite in told(root).values() for each in suite.values()]
    assert 'Deny from evil != "<&]]>\'" (shop.yaml:' in failure.text


def test_junit_tells_tests_of_one_name_apart(world):
    asked = "- {from: shop/web, to: shop/db, protocol: ICMP, icmpType: 3, expect: deny}\n"
    world.file(
        "t.yaml", asked * 2 + asked.replace("3", "4") + asked.replace("3", "3, ipVersion: 4")
    )
    _, root = junit(world, "t.yaml")
    (suite,) = told(root).values()
    assert list(suite) == [
        "shop/web → shop/db ICMP type 3",
        "shop/web → shop/db ICMP type 3 (2)",
        "shop/web → shop/db ICMP type 4",
        "shop/web → shop/db ICMP type 3 over IPv4",
    ]


def test_a_report_that_cannot_be_written_is_one_sentence(world):
    world.file("t.yaml", GOOD)
    result = run(world, "t.yaml", "--junit", "no/where.xml")
    assert (result.code, result.out) == (1, "")
    assert result.err == "cannot write no/where.xml: no such file or directory\n"


def test_wrong_usage(world):
    assert run(world).code == 2
    world.file("t.yaml", GOOD)
    bad = run(world, "t.yaml", "-o", "xml")
    assert (bad.code, bad.out) == (1, "")
    assert bad.err.startswith("-o 'xml': no such output format")


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_screen_holds_on_any_width(world, width):
    world.file("t.yaml", BAD.replace("expect: allow", "expect: deny"))
    snapshot = read_snapshot(["shop.yaml"])
    answers = check(read_cases(["t.yaml"]), snapshot)
    paper = io.StringIO()
    Console(file=paper, width=width).print(drawn(answers, snapshot))
    assert max(map(len, paper.getvalue().splitlines())) <= width
    assert "…" not in paper.getvalue()


def test_the_example_of_the_readme_is_as_expected(korat, monkeypatch):
    monkeypatch.chdir(ROOT)
    files = ("-f", "examples/shop.yaml", "-f", "examples/policies.yaml")
    result = korat("policy", "test", "examples/policy-test.yaml", *files)
    assert (result.code, result.out) == (0, "✔ 6 tests: all as expected\n")
    without = korat("policy", "test", "examples/policy-test.yaml", *files[:2])
    assert without.code == 1
    assert without.out.endswith("✘ 6 tests: 3 as expected, 3 not\n")

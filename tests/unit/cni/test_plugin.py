"""The plugin's own part: what it refuses before it asks anyone, and VERSION."""

import io
import json

import pytest

from korat.cni.main import run

ENV = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "abc",
    "CNI_NETNS": "/run/netns/a",
    "CNI_IFNAME": "eth0",
}
CONFIG = {"cniVersion": "1.0.0", "name": "net", "type": "korat", "agent_socket": "/nowhere/a.sock"}


def plugin(env, stdin):
    out = io.StringIO()
    code = run(env, io.BytesIO(stdin), out)
    return code, json.loads(out.getvalue()) if out.getvalue() else None


def refusal(env=(), config=()):
    code, out = plugin({**ENV, **dict(env)}, json.dumps({**CONFIG, **dict(config)}).encode())
    assert code == 1
    return out["code"], out["msg"] + out.get("details", "")


def test_version_needs_neither_agent_nor_configuration():
    code, out = plugin({"CNI_COMMAND": "VERSION"}, b"not even json")
    assert code == 0
    assert out == {
        "cniVersion": "1.1.0",
        "supportedVersions": ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"],
    }


@pytest.mark.parametrize(
    ("env", "named"),
    [
        ({"CNI_COMMAND": ""}, "CNI_COMMAND"),
        ({"CNI_COMMAND": "add"}, "CNI_COMMAND 'add'"),
        ({"CNI_COMMAND": "EXPLODE"}, "CNI_COMMAND"),
        ({"CNI_CONTAINERID": ""}, "CNI_CONTAINERID"),
        ({"CNI_NETNS": ""}, "CNI_NETNS"),
        ({"CNI_IFNAME": ""}, "CNI_IFNAME"),
        ({"CNI_IFNAME": "", "CNI_CONTAINERID": ""}, "CNI_CONTAINERID, CNI_IFNAME"),
        ({"CNI_COMMAND": "DEL", "CNI_IFNAME": ""}, "CNI_IFNAME"),
        ({"CNI_CONTAINERID": "../../etc"}, "CNI_CONTAINERID"),
        ({"CNI_CONTAINERID": "-abc"}, "CNI_CONTAINERID"),
        ({"CNI_CONTAINERID": "a b"}, "CNI_CONTAINERID"),
        ({"CNI_CONTAINERID": "a" * 129}, "CNI_CONTAINERID"),
        ({"CNI_CONTAINERID": "abc\n"}, "CNI_CONTAINERID"),
        ({"CNI_IFNAME": "a" * 16}, "CNI_IFNAME"),
        ({"CNI_IFNAME": "a/b"}, "CNI_IFNAME"),
        ({"CNI_IFNAME": "a:b"}, "CNI_IFNAME"),
        ({"CNI_IFNAME": "a b"}, "CNI_IFNAME"),
        ({"CNI_IFNAME": ".."}, "CNI_IFNAME"),
        ({"CNI_IFNAME": "eth%d"}, "CNI_IFNAME"),
        ({"CNI_IFNAME": "éééééééé"}, "CNI_IFNAME"),
        ({"CNI_NETNS": "run/netns/a"}, "CNI_NETNS"),
        ({"CNI_NETNS": "/run/../etc/passwd"}, "CNI_NETNS"),
        ({"CNI_ARGS": "A=\udcff"}, "CNI_ARGS"),
        ({"CNI_PATH": "/opt/cni/bin\n"}, "CNI_PATH"),
    ],
)
def test_wrong_environment_is_code_4_and_named(env, named):
    code, text = refusal(env)
    assert code == 4
    assert named in text


@pytest.mark.parametrize(
    "stdin",
    [b"", b"{", b"nonsense", b"[]", b'"x"', b"\xff\xfe", b"[" * 100_000, b" " * (1 << 20) + b"{}"],
    ids=["empty", "cut", "word", "list", "string", "bytes", "deep", "long"],
)
def test_configuration_that_is_no_object_is_code_6(stdin):
    code, out = plugin(ENV, stdin)
    assert (code, out["code"]) == (1, 6)
    assert out["cniVersion"] == "1.1.0"


@pytest.mark.parametrize("version", [None, 1, "", "0.1.0", "0.2.0", "1.2.0", "2.0.0"])
def test_unknown_version_is_code_1_and_the_known_are_named(version):
    code, text = refusal(config={"cniVersion": version})
    assert code == 1
    assert "0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0" in text


@pytest.mark.parametrize(
    ("command", "version"),
    [
        ("CHECK", "0.3.0"),
        ("CHECK", "0.3.1"),
        *((c, v) for c in ("GC", "STATUS") for v in ("0.3.1", "0.4.0", "1.0.0")),
    ],
)
def test_command_that_the_version_does_not_have_is_code_1(command, version):
    code, text = refusal({"CNI_COMMAND": command}, {"cniVersion": version})
    assert code == 1
    assert command in text


@pytest.mark.parametrize(
    "config",
    [
        {"name": None},
        {"name": ""},
        {"name": "../x"},
        {"name": "a/b"},
        {"name": "x" * 101},
        {"name": ["a"]},
        {"agent_socket": 3},
        {"agent_socket": "agent.sock"},
        {"agent_socket": "/run/../x"},
    ],
)
def test_wrong_configuration_is_code_7(config):
    assert refusal(config=config)[0] == 7


@pytest.mark.parametrize(
    ("command", "version", "expected"),
    [("ADD", "0.3.1", 11), ("CHECK", "0.4.0", 11), ("GC", "1.1.0", 11), ("STATUS", "1.1.0", 50)],
)
def test_without_agent_the_runtime_is_told_to_come_again(command, version, expected):
    code, text = refusal({"CNI_COMMAND": command}, {"cniVersion": version})
    assert code == expected
    assert "/nowhere/a.sock" in text


def test_error_is_in_the_version_of_the_request():
    _, out = plugin(ENV, json.dumps({**CONFIG, "cniVersion": "0.4.0"}).encode())
    assert out["cniVersion"] == "0.4.0"

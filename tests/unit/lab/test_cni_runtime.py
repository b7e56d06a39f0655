"""The lab's container runtime against plugins that are small scripts."""

import json
import sys
from pathlib import Path

import pytest

from korat.core.errors import Invalid, Unavailable
from korat.lab.cni_runtime import Attachment, CniFailed, CniRuntime

#: Writes down what it was told, adds its name to the previous result's list of plugins.
PLUGIN = """#!{python} -I
import json, os, sys
config = json.load(sys.stdin)
with open({diary!r}, "a") as diary:
    env = {{k: v for k, v in os.environ.items() if k.startswith("CNI_")}}
    diary.write(json.dumps([env["CNI_COMMAND"], {name!r}, env, config]) + "\\n")
if config.get("fail"):
    print(json.dumps({{"code": 11, "msg": "no", "details": "because"}}))
    sys.exit(1)
if env["CNI_COMMAND"] == "ADD":
    before = config.get("prevResult", {{}}).get("plugins", [])
    print(json.dumps({{"plugins": [*before, {name!r}]}}))
"""


class World:
    def __init__(self, root: Path) -> None:
        self.diary = root / "diary"
        self.runtime = CniRuntime(root / "net.d", root / "bin")
        self.runtime.net_dir.mkdir()
        self.runtime.bin_dir.mkdir()

    def plugin(self, name: str) -> None:
        text = PLUGIN.format(python=sys.executable, diary=str(self.diary), name=name)
        file = self.runtime.bin_dir / name
        file.write_text(text)
        file.chmod(0o755)

    def configure(self, *plugins: dict[str, object]) -> None:
        conf = {"cniVersion": "1.1.0", "name": "net", "plugins": list(plugins)}
        (self.runtime.net_dir / "10-test.conflist").write_text(json.dumps(conf))

    def told(self) -> list[list]:
        return [json.loads(line) for line in self.diary.read_text().splitlines()]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


POD = Attachment("abc", "/run/netns/x", "eth0", (("K8S_POD_NAME", "web"), ("IgnoreUnknown", "1")))


def test_plugins_form_a_chain_and_are_taken_down_in_reverse(world: World):
    world.plugin("one")
    world.plugin("two")
    world.configure({"type": "one", "mtu": 1400}, {"type": "two"})
    result = world.runtime.add(POD)
    world.runtime.check(POD, result)
    world.runtime.delete(POD, result)
    told = world.told()
    assert [(command, name) for command, name, *_ in told] == [
        ("ADD", "one"),
        ("ADD", "two"),
        ("CHECK", "one"),
        ("CHECK", "two"),
        ("DEL", "two"),
        ("DEL", "one"),
    ]
    assert result == {"plugins": ["one", "two"]}
    _, _, environ, config = told[0]
    assert environ == {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": "abc",
        "CNI_NETNS": "/run/netns/x",
        "CNI_IFNAME": "eth0",
        "CNI_ARGS": "K8S_POD_NAME=web;IgnoreUnknown=1",
        "CNI_PATH": str(world.runtime.bin_dir),
    }
    assert config == {"type": "one", "mtu": 1400, "cniVersion": "1.1.0", "name": "net"}
    assert told[1][3]["prevResult"] == {"plugins": ["one"]}
    assert all(config["prevResult"] == result for *_, config in told[2:])


def test_a_plugins_error_is_a_sentence_with_its_code(world: World):
    world.plugin("one")
    world.configure({"type": "one", "fail": True})
    with pytest.raises(CniFailed, match=r"CNI ADD by one: no \(because\)") as caught:
        world.runtime.add(POD)
    assert caught.value.code == 11


def test_no_configuration_no_plugins_no_program(world: World):
    with pytest.raises(Unavailable, match="no CNI configuration"):
        world.runtime.add(POD)
    world.configure()
    with pytest.raises(Invalid, match="must list a plugin"):
        world.runtime.add(POD)
    world.configure({"type": "absent"})
    with pytest.raises(Unavailable, match="CNI ADD by absent"):
        world.runtime.add(POD)

"""Addresses by way of another program: a small one in its place, and Calico's files."""

import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from korat.agent.address_source import AddressRequest, IpamCall
from korat.agent.azure_vnet_ipam import AzureVnetIpam
from korat.agent.delegate import ask, find
from korat.core.errors import Invalid, NotFound, Unavailable
from korat.core.ipam.hostlocal import Owner
from korat.core.net.address import Addr

#: Writes down what it is told; answers as ``answers`` has it for the command.
PLUGIN = """#!{python} -I
import json, os, sys, time
config = json.load(sys.stdin)
env = {{k: v for k, v in os.environ.items() if k.startswith(("CNI_", "PATH", "SECRET"))}}
with open({diary!r}, "a") as diary:
    diary.write(json.dumps([env, config]) + "\\n")
answer = json.load(open({answers!r}))[env["CNI_COMMAND"]]
if "child" in answer:
    import subprocess
    child = subprocess.Popen(["sleep", "30"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    open(answer["child"], "w").write(str(child.pid))
time.sleep(answer.get("sleep", 0))
sys.stderr.write(answer.get("err", ""))
sys.stdout.write(answer.get("out") or json.dumps(answer.get("json", {{}})))
sys.exit(answer.get("code", 0))
"""
NAME = "azure-vnet-ipam"
IPS = {"cniVersion": "0.3.0", "ips": [{"version": "4", "address": "10.10.0.9/16"}]}
TWO = {"ips": [*IPS["ips"], {"version": "6", "address": "fd00::9/64"}]}
C1 = Owner("c1", "eth0")


class World:
    def __init__(self, root: Path) -> None:
        self.diary, self.answers = root / "diary", root / "answers"
        self.bin, self.state = root / "bin", root / "state"
        self.bin.mkdir()
        self.source = AzureVnetIpam(self.state)
        text = PLUGIN.format(
            python=sys.executable, diary=str(self.diary), answers=str(self.answers)
        )
        (self.bin / NAME).write_text(text)
        (self.bin / NAME).chmod(0o755)
        self.answer(ADD={"json": IPS}, DEL={})

    def answer(self, **answers):
        self.answers.write_text(json.dumps(answers))

    def told(self):
        lines = self.diary.read_text().splitlines() if self.diary.exists() else []
        return [json.loads(line) for line in lines]

    def asked(self):
        """The commands with what they said of addresses."""
        return [(env["CNI_COMMAND"], config["ipam"]) for env, config in self.told()]

    def request(self, owner=C1, **ipam):
        ipam = {"type": NAME, **ipam}
        config = {"cniVersion": "0.3.1", "name": "net", "type": "korat", "more": 1, "ipam": ipam}
        call = IpamCall(config, str(self.bin), "/run/netns/c1", "K8S_POD_NAME=web")
        return AddressRequest("net", ipam, owner, call=call)

    def file(self, *parts):
        return json.loads(self.state.joinpath("networks", "net", *parts).read_text())


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def test_the_whole_configuration_and_the_protocols_environment_are_handed_on(world, monkeypatch):
    monkeypatch.setenv("SECRET", "of the agent")
    assert world.source.assign(world.request()) == (Addr.parse("10.10.0.9"),)
    ((env, config),) = world.told()
    assert config == {
        "cniVersion": "0.3.1",
        "name": "net",
        "type": "korat",
        "more": 1,
        "ipam": {"type": NAME},
    }
    assert env.pop("PATH")
    assert env == {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": "c1",
        "CNI_NETNS": "/run/netns/c1",
        "CNI_IFNAME": "eth0",
        "CNI_ARGS": "K8S_POD_NAME=web",
        "CNI_PATH": str(world.bin),
    }


def test_the_files_are_calicos(world):
    world.source.assign(world.request())
    assert world.file("network.json") == {"Name": "net", "Subnets": ["10.10.0.0/16"]}
    assert world.file("c1-eth0") == {
        "Network": "net",
        "ContainerID": "c1",
        "Interface": "eth0",
        "Addresses": ["10.10.0.9/16"],
    }


def test_what_calico_wrote_is_read(world):
    """Its addresses may be without a length."""
    folder = world.state / "networks" / "net"
    folder.mkdir(parents=True)
    (folder / "network.json").write_text('{"Name": "net", "Subnets": ["10.10.0.0/16"]}')
    (folder / "old-eth0").write_text(
        '{"Network": "net", "ContainerID": "old", "Interface": "eth0", "Addresses": ["10.10.0.7"]}'
    )
    old = Owner("old", "eth0")
    assert world.source.owners("net", {}) == {old}
    assert world.source.of("net", {}, old) == (Addr.parse("10.10.0.7"),)
    world.source.release(world.request(old))
    told = {"type": NAME, "ipAddress": "10.10.0.7", "subnet": "10.10.0.0/16"}
    assert world.asked() == [("DEL", told)]


def test_the_second_container_asks_for_the_subnet_that_the_first_got(world):
    world.source.assign(world.request())
    world.source.assign(world.request(Owner("c2", "eth0"), subnet="192.168.0.0/24"))
    assert world.asked() == [
        ("ADD", {"type": NAME}),
        ("ADD", {"type": NAME, "subnet": "10.10.0.0/16"}),
    ]
    assert world.source.owners("net", {}) == {C1, Owner("c2", "eth0")}


def test_asked_again_it_is_the_same_and_the_plugin_is_left_alone(world):
    first = world.source.assign(world.request())
    assert AzureVnetIpam(world.state).assign(world.request()) == first
    assert len(world.told()) == 1


def test_release_says_what_was_given_and_forgets_it(world):
    world.source.assign(world.request())
    assert world.source.release(world.request()) == (Addr.parse("10.10.0.9"),)
    told = {"type": NAME, "ipAddress": "10.10.0.9", "subnet": "10.10.0.0/16"}
    assert world.asked()[-1] == ("DEL", told)
    assert world.source.owners("net", {}) == frozenset()
    assert world.source.of("net", {}, C1) == ()
    assert world.file("network.json")["Subnets"], "the network stays known"


def test_release_of_what_is_not_kept_asks_nobody(world):
    assert world.source.release(world.request()) == ()
    assert world.told() == []


def test_all_addresses_are_kept_and_each_is_released_in_its_subnet(world):
    world.answer(ADD={"json": TWO}, DEL={})
    both = (Addr.parse("10.10.0.9"), Addr.parse("fd00::9"))
    assert world.source.assign(world.request()) == both
    assert world.file("network.json")["Subnets"] == ["10.10.0.0/16", "fd00::/64"]
    assert world.source.release(world.request()) == both
    assert [(told["ipAddress"], told["subnet"]) for _, told in world.asked()[1:]] == [
        ("10.10.0.9", "10.10.0.0/16"),
        ("fd00::9", "fd00::/64"),
    ]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"code": 1, "json": {"code": 104, "msg": "no address"}}, "refuses ADD: no address"),
        ({"code": 1, "json": {"msg": "no", "details": "why"}}, r"refuses ADD: no \(why\)"),
        ({"code": 1, "out": " ", "err": "boom\n"}, "refuses ADD: boom"),
        ({"code": 1, "out": " "}, "no reason given"),
        ({"out": "nonsense"}, "no JSON object: 'nonsense'"),
        ({"out": "[]"}, "no JSON object"),
        ({"json": {}}, "with no address"),
        ({"json": {"ips": []}}, "with no address"),
        ({"json": {"ips": "x"}}, "with no addresses"),
        ({"json": {"ips": 7}}, "with no addresses"),
        ({"json": {"ips": [{"address": "10.0.0"}]}}, "with no addresses"),
        ({"json": {"ip4": {"ip": "10.0.0.1/24"}}}, "with no address"),
    ],
)
def test_what_the_plugin_refuses_or_garbles_leaves_nothing(world, answer, reason):
    world.answer(ADD=answer)
    with pytest.raises(Unavailable, match=reason):
        world.source.assign(world.request())
    assert world.source.owners("net", {}) == frozenset()


def test_a_release_that_is_refused_is_tried_again_later(world):
    world.source.assign(world.request())
    world.answer(DEL={"code": 1, "json": {"msg": "not now"}})
    with pytest.raises(Unavailable, match="refuses DEL: not now"):
        world.source.release(world.request())
    assert world.source.of("net", {}, C1), "else nobody would release it"
    world.answer(DEL={})
    assert world.source.release(world.request())


def test_where_nothing_can_be_kept_nothing_is_asked_for(world):
    world.state.write_text("a file, not a folder")
    with pytest.raises(Unavailable, match="cannot be used"):
        world.source.assign(world.request())
    assert world.asked() == []


def test_an_address_is_given_back_when_its_file_cannot_be_written(world):
    (world.state / "networks" / "net" / ".c1-eth0.new").mkdir(parents=True)
    with pytest.raises(Unavailable, match="cannot be used"):
        world.source.assign(world.request())
    told = {"type": NAME, "ipAddress": "10.10.0.9", "subnet": "10.10.0.0/16"}
    assert world.asked() == [("ADD", {"type": NAME}), ("DEL", told)]


def test_a_file_that_is_not_calicos_is_named(world):
    place = world.state / "networks" / "net" / "c1-eth0"
    place.parent.mkdir(parents=True)
    place.write_text("{")
    with pytest.raises(Invalid, match="c1-eth0"):
        world.source.assign(world.request())


def test_a_plugin_that_hangs_is_ended(world):
    world.answer(ADD={"sleep": 30})
    with pytest.raises(Unavailable, match=r"has not done ADD after 0\.5 s"):
        ask("ADD", world.request(), {"type": NAME}, timeout_s=0.5)


def test_what_a_plugin_that_hangs_has_started_ends_with_it(world, tmp_path):
    child = tmp_path / "child"
    world.answer(ADD={"sleep": 30, "child": str(child)})
    with pytest.raises(Unavailable, match="has not done ADD"):
        ask("ADD", world.request(), {"type": NAME}, timeout_s=1.0)
    pid = child.read_text()
    stat = Path(f"/proc/{pid}/stat")
    deadline = time.monotonic() + 5
    while stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < deadline, f"process {pid} lives on"
        time.sleep(0.01)


def test_a_plugin_that_says_too_much_is_cut_short(world):
    world.answer(ADD={"code": 1, "json": {"msg": "m" * 10_000, "details": "d" * 10_000}})
    with pytest.raises(Unavailable) as caught:
        world.source.assign(world.request())
    assert len(str(caught.value)) < 1_100


def test_check_wants_a_folder_for_the_files(world):
    world.source.check({})
    with pytest.raises(Unavailable):
        AzureVnetIpam(world.bin / NAME).check({})


@pytest.mark.parametrize("path", ["bin", "/opt/../etc", "/opt/cni/bin:relative"])
def test_a_path_that_is_not_absolute_is_refused(path):
    with pytest.raises(Invalid, match="absolute"):
        find(NAME, path)


@pytest.mark.parametrize("path", ["", "/nowhere", "/nowhere:/neither"])
def test_a_plugin_that_is_not_there_is_named(world, path):
    with pytest.raises(NotFound, match=f"no CNI plugin {NAME}"):
        find(NAME, path)
    (world.bin / NAME).chmod(0o644)
    request = world.request()
    with pytest.raises(NotFound):
        world.source.assign(replace(request, call=replace(request.call, path=str(world.bin))))


def test_the_first_folder_that_has_it_counts(world, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / NAME).mkdir()
    assert find(NAME, f"/nowhere:{tmp_path}/empty:{world.bin}") == world.bin / NAME

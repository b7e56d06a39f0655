"""The stand-ins for Azure's CNI plugins, without a kernel: addresses, files, the list."""

import io
import json
import subprocess

import pytest

from cni_world import names
from korat.lab.azure_cni import vnet_ipam, wireserver
from korat.lab.azure_cni.install import install
from korat.lab.azure_cni.protocol import PluginError
from korat.lab.azure_cni.wireserver import Subnet

ANSWER = b"""<Interfaces>
 <Interface MacAddress="000d3a000004" IsPrimary="true">
  <IPSubnet Prefix="10.10.0.0/16">
   <IPAddress Address="10.10.0.4" IsPrimary="true"/>
   <IPAddress Address="10.10.1.6" IsPrimary="False"/>
   <IPAddress Address="10.10.1.5" IsPrimary="false"/>
  </IPSubnet>
 </Interface>
 <Interface MacAddress="*" IsPrimary="false">
  <IPSubnet Prefix="10.20.0.0/24"><IPAddress Address="10.20.0.9" IsPrimary="false"/></IPSubnet>
 </Interface>
 <Interface MacAddress="000D3AFFFFFF" IsPrimary="false">
  <IPSubnet Prefix="10.30.0.0/24"><IPAddress Address="10.30.0.9" IsPrimary="false"/></IPSubnet>
 </Interface>
</Interfaces>"""


class World:
    """The plugin in this process, with a wireserver that answers as told."""

    def __init__(self, folder, monkeypatch, capsys):
        self.folder, self._monkeypatch, self._capsys = folder, monkeypatch, capsys
        self.answer, self.asked, self.now_s = ANSWER, 0, 1000.0
        links = [{"ifname": "lo"}, {"ifname": "eth0", "address": "00:0d:3a:00:00:04"}]
        monkeypatch.setattr(vnet_ipam.iproute, "show", lambda *_: links)
        monkeypatch.setattr(vnet_ipam.wireserver, "subnets", self._subnets)
        monkeypatch.setattr(vnet_ipam.time, "time", lambda: self.now_s)

    def _subnets(self):
        self.asked += 1
        return wireserver.read(self.answer)

    def call(self, command, container="c1", version="0.3.0", **ipam):
        for name in ("CNI_COMMAND", "CNI_CONTAINERID"):
            self._monkeypatch.setenv(name, command if name == "CNI_COMMAND" else container)
        config = {"cniVersion": version, "name": "azure", "ipam": {"type": "x", **ipam}}
        self._monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(config)))
        code = vnet_ipam.main(str(self.folder))
        out = self._capsys.readouterr().out
        return code, json.loads(out) if out else None

    def give(self, container="c1", **ipam):
        code, answer = self.call("ADD", container, **ipam)
        return answer["ips"][0]["address"] if code == 0 else answer["msg"]


@pytest.fixture
def world(tmp_path, monkeypatch, capsys):
    return World(tmp_path, monkeypatch, capsys)


def test_what_the_wireserver_says():
    first, *_ = wireserver.read(ANSWER)
    assert first == Subnet(
        mac="000D3A000004",
        is_primary=True,
        prefix="10.10.0.0/16",
        addresses=("10.10.1.6", "10.10.1.5"),
    )
    assert first.gateway == "10.10.0.1"
    for text in (b"", b"<a>", ANSWER.replace(b"10.10.1.6", b"ten"), ANSWER.replace(b"/16", b"/x")):
        with pytest.raises(PluginError, match="cannot be read"):
            wireserver.read(text)


def test_the_result_is_azures(world):
    assert world.call("ADD") == (
        0,
        {
            "cniVersion": "0.3.0",
            "ips": [{"version": "4", "address": "10.10.1.5/16", "gateway": "10.10.0.1"}],
            "routes": [{"dst": "0.0.0.0/0", "gw": "10.10.0.1"}],
            "dns": {"nameservers": ["168.63.129.16"]},
        },
    )
    assert "version" not in world.call("ADD", version="1.0.0")[1]["ips"][0]
    assert world.call("ADD", version="1.1.0")[1]["code"] == 1
    assert names(world.folder) == ["azure-vnet-ipam.json", "azure-vnet-ipam.json.lock"]


def test_the_nodes_own_address_is_never_given_and_other_nics_come_last(world):
    given = [world.give(f"c{number}") for number in range(4)]
    assert given[:3] == ["10.10.1.5/16", "10.10.1.6/16", "10.20.0.9/24"]
    assert given[3] == "no address is left in any pool", "not of a link that is not here"


def test_the_same_container_gets_the_same_again(world):
    assert world.give() == world.give() == "10.10.1.5/16"


def test_an_address_that_left_the_nic_is_not_given_again(world):
    assert world.give() == "10.10.1.5/16"
    world.answer, world.now_s = ANSWER.replace(b"10.10.1.5", b"10.10.1.7"), world.now_s + 11
    assert world.give("c2") == "10.10.1.6/16"
    world.call("DEL")
    assert world.give("c3") == "10.10.1.7/16"


def test_the_wireserver_is_asked_at_most_every_so_often(world):
    for number in range(6):
        world.give(f"c{number}")
    assert world.asked == 1, "also when there is nothing left"
    world.now_s += 9
    world.give("c8")
    assert world.asked == 1
    world.now_s += 2
    world.give("c9")
    assert world.asked == 2
    world.give("c9", queryInterval="0.001")
    assert world.asked == 2
    world.now_s += 1
    world.give("c9", queryInterval="0.001")
    assert world.asked == 3


def test_a_subnet_and_an_address_can_be_asked_for(world):
    assert world.give("c1", subnet="10.20.0.0/24") == "10.20.0.9/24"
    assert world.give("c2", ipAddress="10.10.1.6") == "10.10.1.6/16"
    assert world.give("c3", ipAddress="10.10.1.6").startswith("no address 10.10.1.6")
    assert world.give("c3", subnet="10.99.0.0/24") == "there is no address pool 10.99.0.0/24"


def test_release_by_address_or_else_of_the_container(world):
    world.give("c1")
    world.give("c2")
    world.call("DEL", "another", ipAddress="10.10.1.5", subnet="10.10.0.0/16")
    assert world.give("c3") == "10.10.1.5/16"
    world.call("DEL", "c2")
    assert world.give("c4") == "10.10.1.6/16"
    assert world.call("DEL", "never") == (0, None)


def test_the_list_is_azures_with_policy_after_it(tmp_path):
    conflist = install(tmp_path / "bin", tmp_path / "net", tmp_path / "state", "/x/agent.sock")
    listed = json.loads(conflist.read_text())
    assert (listed["cniVersion"], listed["name"]) == ("0.3.0", "azure")
    assert [plugin["type"] for plugin in listed["plugins"]] == ["azure-vnet", "korat-policy"]
    assert listed["plugins"][0]["ipam"] == {"type": "azure-vnet-ipam"}
    assert listed["plugins"][1]["agent_socket"] == "/x/agent.sock"
    assert names(tmp_path / "net") == ["10-azure.conflist"]
    assert names(tmp_path / "bin") == ["azure-vnet", "azure-vnet-ipam", "korat", "korat-policy"]


@pytest.mark.parametrize("program", ["azure-vnet", "azure-vnet-ipam"])
def test_the_programs_start_as_plugins(tmp_path, program):
    install(tmp_path / "bin", tmp_path / "net", tmp_path / "state", "/x/agent.sock")
    done = subprocess.run(
        [tmp_path / "bin" / program],
        env={"CNI_COMMAND": "VERSION"},
        capture_output=True,
        check=True,
        timeout=20,
    )
    assert json.loads(done.stdout)["supportedVersions"][0] == "0.3.0"

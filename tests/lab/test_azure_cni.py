"""What is particular to Azure CNI, in a whole lab: pods' addresses are their node's NIC's.

What all networking options must do is in ``test_networking_options``.
"""

import json
import os
import signal
import socket
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from korat.core.model.kubernetes.workload import interface_name
from korat.drivers.kernel.namespace import path_of, run_in, socket_in
from lab_traffic import agent_of, until
from lab_world import Lab, exchange, inside, lab, pods

pytestmark = pytest.mark.lab

MODE = ("--mode", "azure-cni", "--nic-addresses", 3)
#: The controllers have the right to ask ARM for more addresses, four at a time.
GROWS = {
    "KORAT_AZURE_ADDRESSES": "Enabled",
    "KORAT_AZURE_ADDRESS_BATCH": "4",
    "KORAT_AZURE_ADDRESS_HEADROOM": "2",
}
IMDS, WIRESERVER = "169.254.169.254", "168.63.129.16"
FELIX = """
apiVersion: projectcalico.org/v3
kind: FelixConfiguration
metadata: {name: default}
spec: {koratPodsToWireserver: Allowed, koratPodsToInstanceMetadata: Refused}
"""


@pytest.fixture(scope="module")
def two() -> Iterator[Lab]:
    with lab("acni", nodes=2, environ=GROWS, more=MODE) as made:
        made.apply(pods(("default", "one", "vm1", {}), ("default", "two", "vm2", {})))
        assert set(made.probe().values()) == {"allowed"}
        yield made


def node(made: Lab, name: str) -> dict[str, object]:
    return next(each for each in made.status()["nodes"] if each["name"] == name)


def test_pods_have_their_nics_addresses_and_azures_names(two: Lab) -> None:
    for name, vm in (("one", "vm1"), ("two", "vm2")):
        pod = two.pod(f"default/{name}")
        assert pod["address"] in node(two, vm)["nicAddresses"]
        link = interface_name("default", name, "azv")
        (route,) = json.loads(
            inside(two.namespace(vm), "ip", "-j", "route", "show", pod["address"])
        )
        assert route["dev"] == link
    assert [each["ipForwarding"] for each in two.status()["nodes"]] == [False, False]
    assert two.status()["routeTable"]["name"] == ""


def test_more_pods_than_addresses_get_more_from_azure_ahead_of_need(two: Lab) -> None:
    before = len(node(two, "vm1")["nicAddresses"])
    rows = [("default", f"more-{n}", "vm1", {}) for n in range(6)]
    two.apply(pods(*rows))
    # An agent asks what its NIC has every 10 s at most.
    until(lambda: all(pod["address"] for pod in two.status()["pods"]), 40, "no address")
    assert set(two.probe("--to", "default/more-5").values()) == {"allowed"}

    def ahead() -> bool:
        held = len(node(two, "vm1")["nicAddresses"])
        return held >= 7 + 2 and (held - before) % 4 == 0

    until(ahead, 20, "no addresses ahead of need")
    addresses = [pod["address"] for pod in two.status()["pods"]]
    assert len(set(addresses)) == len(addresses) == 8
    assert set(addresses[:7]) <= {
        *node(two, "vm1")["nicAddresses"],
        *node(two, "vm2")["nicAddresses"],
    }
    two.delete(pods(*rows))


def test_a_killed_agent_and_a_reboot_give_no_address_twice(two: Lab) -> None:
    old = agent_of(two, "vm1")
    os.kill(old, signal.SIGKILL)
    two.apply(pods(("default", "after-kill", "vm1", {})))
    until(lambda: two.pod("default/after-kill")["address"], 20)
    assert set(two.probe("--to", "default/after-kill").values()) == {"allowed"}
    two.run("lab", "node", "reboot", "vm1")
    until(lambda: set(two.probe().values()) == {"allowed"}, 20)
    mine = [pod["address"] for pod in two.status()["pods"] if pod["node"] == "vm1"]
    assert len(set(mine)) == len(mine) == 2
    disk = Path(f"/run/korat/lab/{two.name}/nodes/vm1/cni/azure-ipam/nic")
    until(lambda: {file.name for file in disk.glob("10.*")} == set(mine), 10)
    two.run("delete", "pod", "after-kill")


def answers(made: Lab, netns: str, address: str, port: int = 80) -> int | None:
    """The HTTP status that somebody in this namespace gets from one of Azure's own; None: none."""
    paths = {
        IMDS: "/metadata/instance?api-version=2021-02-01",
        WIRESERVER: "/machine/plugins?comp=nmagent&type=getinterfaceinfov1",
    }

    def ask() -> int | None:
        connection = HTTPConnection(address, port, timeout=2)
        try:
            connection.request("GET", paths[address], headers={"Metadata": "true"})
            return connection.getresponse().status
        except OSError:
            return None
        finally:
            connection.close()

    return run_in(str(path_of(netns)), ask)


def test_pods_reach_azures_own_addresses_only_as_settings_allow(two: Lab) -> None:
    pod, vm = two.pod("default/one")["netns"], two.namespace("vm1")
    assert answers(two, vm, IMDS) == answers(two, vm, WIRESERVER) == 200
    assert answers(two, pod, IMDS) == 200
    assert answers(two, pod, WIRESERVER) is None
    assert answers(two, pod, WIRESERVER, 32526) is None
    words = ("--from", "default/one", "--to", WIRESERVER, "--protocol", "TCP", "--port", 80)
    said = two.run("policy", "explain", *words).stdout
    assert "koratPodsToWireserver" in said
    two.apply(FELIX)
    try:
        until(lambda: answers(two, pod, WIRESERVER) == 200, 5)
        assert answers(two, pod, IMDS) is None
        assert answers(two, vm, IMDS) == 200
    finally:
        two.delete(FELIX)
    until(lambda: answers(two, pod, WIRESERVER) is None, 5)


def test_pods_are_seen_with_their_own_address_inside_and_their_nodes_outside(two: Lab) -> None:
    sender, near = two.pod("default/one"), node(two, "vm1")

    def seen_from(server_netns: str, address: str) -> str | None:
        with socket_in(server_netns) as server, socket_in(sender["netns"]) as client:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind((address, 8123))
            server.listen(1)
            return exchange(server, client, (address, 8123))

    other = node(two, "vm2")
    assert seen_from(str(other["netns"]), str(other["address"])) == sender["address"]
    public = seen_from(two.namespace("internet"), "203.0.113.10")
    assert public == f"20.0.{str(near['address']).split('.', 2)[2]}"


@pytest.mark.parametrize("beside", ["", "azure-vnet", "azure-vnet-ipam"])
def test_a_nic_without_a_free_address_is_said(beside: str) -> None:
    """Nobody has the right to ask for more: the third pod waits, and says for what."""
    more = ("--mode", "azure-cni", "--nic-addresses", 2)
    with lab("afull", nodes=1, more=(*more, "--beside", beside) if beside else more) as made:
        made.apply(pods(*(("default", f"p{n}", "vm1", {}) for n in range(3))))

        def messages() -> list[str]:
            return [pod["message"] for pod in made.status()["pods"] if pod["message"]]

        until(messages, 20, "nobody waits")
        (message,) = messages()
        assert "address" in message
        running = [pod for pod in made.status()["pods"] if pod["address"]]
        assert len(running) == 2
        if not beside:
            assert "2 of 2" in message

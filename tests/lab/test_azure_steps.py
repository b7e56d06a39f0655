"""Each of Azure's steps for user-defined routes matters: taken away, cross-node pods break.

The objects are changed by the unmodified SDK, as an engineer would; the controller's own repair is
put off in the first lab and hurried in the second.
"""

import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from azure.identity import ManagedIdentityCredential
from azure.mgmt.network import NetworkManagementClient

from korat.drivers.kernel import sysctl
from korat.drivers.kernel.namespace import socket_in
from lab_world import Lab, exchange, lab, pods

pytestmark = pytest.mark.lab

GROUP, TABLE = "korat-lab", "korat-routes"
PAIR = pods(
    ("default", "near", "vm1", {}), ("default", "far", "vm2", {}), ("default", "next", "vm1", {})
)


class Azure:
    """The lab's Azure in the hands of the official SDK."""

    def __init__(self, environ: dict[str, str]) -> None:
        config = json.loads(Path(environ["KORAT_AZURE_CONFIG"]).read_text())
        os.environ["AZURE_POD_IDENTITY_AUTHORITY_HOST"] = environ[
            "AZURE_POD_IDENTITY_AUTHORITY_HOST"
        ]
        url = environ["AZURE_RESOURCE_MANAGER_URL"]
        self.client = NetworkManagementClient(
            ManagedIdentityCredential(),
            config["subscriptionId"],
            base_url=url,
            credential_scopes=["https://management.azure.com/.default"],
            connection_verify=environ["REQUESTS_CA_BUNDLE"],
            polling_interval=0,
        )

    def route(self, name: str) -> object:
        return self.client.routes.get(GROUP, TABLE, name)

    def delete_route(self, name: str) -> None:
        self.client.routes.begin_delete(GROUP, TABLE, name).result()

    def put_route(self, name: str, route: object) -> None:
        self.client.routes.begin_create_or_update(GROUP, TABLE, name, route).result()

    def associate(self, table: object) -> None:
        subnet = self.client.subnets.get(GROUP, "vnet", "nodes")
        subnet.route_table = table
        self.client.subnets.begin_create_or_update(GROUP, "vnet", "nodes", subnet).result()

    def table(self) -> object:
        return self.client.route_tables.get(GROUP, TABLE)

    def delete_table(self) -> None:
        self.client.route_tables.begin_delete(GROUP, TABLE).result()

    def put_table(self, table: object) -> object:
        return self.client.route_tables.begin_create_or_update(GROUP, TABLE, table).result()

    def forward(self, nic: str, *, on: bool) -> None:
        found = self.client.network_interfaces.get(GROUP, nic)
        found.enable_ip_forwarding = on
        self.client.network_interfaces.begin_create_or_update(GROUP, nic, found).result()


@pytest.fixture(scope="module")
def two() -> Iterator[tuple[Lab, Azure]]:
    with lab("udr", nodes=2, environ={"ROUTE_RECONCILIATION_PERIOD": "3600s"}) as made:
        made.apply(PAIR)
        yield made, Azure(json.loads(made.run("lab", "env", "-o", "json").stdout))


def crosses(made: Lab) -> tuple[bool, bool]:
    """Whether pods reach each other across nodes, each way."""
    return made.talks("default/near", "default/far"), made.talks("default/far", "default/near")


def check(made: Lab, broken: tuple[bool, bool]) -> None:
    assert crosses(made) == broken
    assert made.talks("default/near", "default/next"), "pods of one node never need Azure's routes"


def test_korats_own_steps_make_it_work(two: tuple[Lab, Azure]) -> None:
    check(two[0], (True, True))


def test_a_route(two: tuple[Lab, Azure]) -> None:
    made, azure = two
    route = azure.route("vm2")
    azure.delete_route("vm2")
    check(made, (False, False))  # a TCP connection needs both ways
    azure.put_route("vm2", route)
    check(made, (True, True))


def test_the_association(two: tuple[Lab, Azure]) -> None:
    made, azure = two
    azure.associate(None)
    check(made, (False, False))
    azure.associate(azure.table())
    check(made, (True, True))


def test_the_table(two: tuple[Lab, Azure]) -> None:
    made, azure = two
    table = azure.table()
    azure.associate(None)
    azure.delete_table()
    check(made, (False, False))
    azure.associate(azure.put_table(table))
    check(made, (True, True))


@pytest.mark.parametrize("nic", ["vm1-nic", "vm2-nic"])
def test_ip_forwarding_of_one_nic(two: tuple[Lab, Azure], nic: str) -> None:
    made, azure = two
    azure.forward(nic, on=False)
    check(made, (False, False))
    azure.forward(nic, on=True)
    check(made, (True, True))


def test_what_stays_in_the_vnet_keeps_its_address_and_what_leaves_is_masqueraded(
    two: tuple[Lab, Azure],
) -> None:
    made, _ = two
    near, vm2 = made.pod("default/near"), made.status()["nodes"][1]

    def seen_from(where: str, address: str) -> str | None:
        with socket_in(where, socket.AF_INET, socket.SOCK_STREAM) as server:
            server.bind((address, 8123))
            server.listen()
            with socket_in(near["netns"], socket.AF_INET, socket.SOCK_STREAM) as client:
                return exchange(server, client, (address, 8123))

    assert seen_from(vm2["netns"], vm2["address"]) == near["address"]
    public = seen_from(made.namespace("internet"), "203.0.113.10")
    assert public is not None
    assert public.startswith("20.0.0.")


@pytest.mark.parametrize(("protocol", "arrives"), [(4, False), (47, False), (50, True)])
def test_the_fabric_drops_ipip_and_gre_between_vms(
    two: tuple[Lab, Azure], protocol: int, arrives: bool
) -> None:
    made, _ = two
    one, other = made.status()["nodes"]
    with (
        socket_in(other["netns"], socket.AF_INET, socket.SOCK_RAW, protocol) as receiver,
        socket_in(one["netns"], socket.AF_INET, socket.SOCK_RAW, protocol) as sender,
    ):
        receiver.settimeout(1)
        sender.sendto(b"korat" * 8, (other["address"], 0))
        assert _received(receiver.recv) == arrives


def _received(recv: Callable[[int], bytes]) -> bool:
    try:
        return b"korat" in recv(2048)
    except TimeoutError:
        return False


def test_a_pod_cannot_send_with_anothers_address(two: tuple[Lab, Azure]) -> None:
    """The packet is whole and would be routed; only its source is not the pod's."""
    made, _ = two
    near, far, vm1 = made.pod("default/near"), made.pod("default/far"), made.status()["nodes"][0]

    def spoof(source: str) -> bool:
        with (
            socket_in(far["netns"], socket.AF_INET, socket.SOCK_DGRAM) as server,
            socket_in(near["netns"], socket.AF_INET, socket.SOCK_DGRAM) as client,
        ):
            server.bind((far["address"], 8124))
            server.settimeout(1)
            client.setsockopt(socket.SOL_IP, 15, 1)  # IP_FREEBIND: an address that is not ours
            client.setsockopt(socket.SOL_IP, 19, 1)  # IP_TRANSPARENT
            client.bind((source, 0))
            client.sendto(b"korat", (far["address"], 8124))
            return _received(server.recv)

    assert spoof(near["address"])
    assert not spoof(made.pod("default/next")["address"])
    assert not spoof(vm1["address"])


@pytest.mark.parametrize(("interface", "arrives"), [("strange0", True), ("calistrange", False)])
def test_an_unknown_workload_interface_is_cut_off(
    two: tuple[Lab, Azure], interface: str, arrives: bool
) -> None:
    """A cali* interface without an endpoint: nothing goes in by it and nothing out."""
    made, _ = two
    near, far, vm1 = made.pod("default/near"), made.pod("default/far"), made.status()["nodes"][0]
    stranger, address = made.namespace("stranger"), "10.10.128.250"
    ip("netns", "add", stranger)
    try:
        ip(
            "-n",
            vm1["netns"],
            "link",
            "add",
            interface,
            "type",
            "veth",
            "peer",
            "eth0",
            "netns",
            stranger,
        )
        ip("-n", vm1["netns"], "link", "set", interface, "up")
        ip("-n", vm1["netns"], "route", "add", f"{address}/32", "dev", interface)
        sysctl.write({f"net/ipv4/conf/{interface}/proxy_arp": 1}, vm1["netns"])
        ip("-n", stranger, "address", "add", f"{address}/24", "dev", "eth0")
        ip("-n", stranger, "link", "set", "eth0", "up")
        ip("-n", stranger, "route", "add", "default", "via", "10.10.128.1", "onlink", "dev", "eth0")
        assert _datagram(stranger, address, far["netns"], far["address"]) == arrives
        assert _datagram(near["netns"], near["address"], stranger, address) == arrives
    finally:
        ip("netns", "delete", stranger)


def ip(*words: str) -> None:
    subprocess.run(["/usr/sbin/ip", *words], check=True, capture_output=True, timeout=10)


def _datagram(source: str, source_address: str, target: str, target_address: str) -> bool:
    """Whether a datagram gets from one namespace to another one's address."""
    with (
        socket_in(target, socket.AF_INET, socket.SOCK_DGRAM) as server,
        socket_in(source, socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        server.bind((target_address, 8125))
        server.settimeout(1)
        client.bind((source_address, 0))
        client.sendto(b"korat", (target_address, 8125))
        return _received(server.recv)


def test_drift_is_repaired() -> None:
    with lab("heal", nodes=2, environ={"ROUTE_RECONCILIATION_PERIOD": "1s"}) as made:
        made.apply(PAIR)
        azure = Azure(json.loads(made.run("lab", "env", "-o", "json").stdout))
        azure.associate(None)
        azure.forward("vm1-nic", on=False)
        azure.delete_route("vm2")
        deadline = time.monotonic() + 15
        while crosses(made) != (True, True):
            assert time.monotonic() < deadline, made.status()

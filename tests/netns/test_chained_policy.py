"""Policy behind other CNI plugins: azure-vnet's stand-in, and Debian's own, with real packets."""

import contextlib
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pyroute2 import IPRoute

from chain_world import NODE_ADDRESS, SUBNET, WAIT_S, chained_node
from cni_world import agent_at, eventually, names, workloads
from korat.agent.chained import ChainedWorkloads
from korat.agent.cni_program import Programs
from korat.agent.feed import Batch
from korat.agent.intent import NodeState
from korat.agent.kernel import NodeKernel
from korat.agent.loop import NodeLoop
from korat.cni.install import IPAM, install, install_policy
from korat.core.errors import KoratError
from korat.core.model.kubernetes.workload import interface_name
from korat.drivers.kernel.pod_end import PodEnds
from korat.lab.azure_cni.install import install as install_azure
from korat.lab.azure_cni.install import install_programs
from korat.lab.cni_runtime import CniFailed
from policy_world import allow, deny, open_namespace, policy

pytestmark = [
    pytest.mark.netns,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for network namespaces"),
]

AZV = interface_name("shop", "web", "azv")
BOOT, KORAT = 3, 75


@pytest.fixture(scope="module")
def azures_node(tmp_path_factory):
    folder = tmp_path_factory.mktemp("azure")
    with chained_node(folder, FELIX_INTERFACEPREFIX="azv") as node:
        install_azure(node.bin_dir, node.net_dir, folder / "azure", str(node.socket))
        node.wireserver("10.10.1.5", "10.10.1.6", "10.10.1.7")
        node.write(open_namespace("shop"))
        node.start_agent()
        yield node


@pytest.fixture
def azure(azures_node):
    """A node with azure-vnet, its IPAM and korat-policy in the list, and three addresses."""
    with azures_node.lent():
        yield azures_node


def test_allowed_traffic_passes_with_the_first_packet_after_add(azure):
    web = azure.pod("web")
    result = web.add()
    assert web.answers(), "the very first packet"
    assert web.reaches_far()
    assert result["cniVersion"] == "0.3.0"
    assert result["interfaces"] == [{"name": "eth0"}]
    assert azure.endpoints()["web"].spec.interface_name == AZV


def test_policy_holds_from_the_first_packet(azure):
    shut = policy("shut", "shop", selector="app == 'shut'", types=("Ingress",), ingress=[deny()])
    azure.write(shut)
    web, free = azure.pod("web", app="shut"), azure.pod("free")
    web.add()
    assert not web.answers()
    assert web.reaches_far(), "only the way in is shut"
    free.add()
    assert free.answers()


def test_before_the_endpoint_is_known_nothing_passes(azure):
    """The gap: azure-vnet alone has made the link, and korat-policy was not asked yet."""
    listed = azure.net_dir / "10-azure.conflist"
    whole = listed.read_text()
    conf = json.loads(whole)
    conf["plugins"] = [p for p in conf["plugins"] if p["type"] != "korat-policy"]
    listed.write_text(json.dumps(conf))
    web = azure.pod("web")
    web.add()
    assert AZV in azure.links()
    assert not web.answers()
    assert not web.reaches_far()
    listed.write_text(whole)
    web.add()
    assert web.answers()


class HeldLoop:
    """The agent's loop in this process, which hears of the store only when it is let."""

    def __init__(self, node):
        self._node = node
        self._kernel = node.inside("node", NodeKernel)
        environ = {"FELIX_INTERFACEPREFIX": "azv"}
        self.loop = NodeLoop(lambda: NodeState("vm1", environ), self._kernel)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        def inside():
            self._kernel.prepare()
            self.loop.run()

        self._node.inside("node", inside)

    def let(self):
        """Hear of all that is in the store now."""
        found = self._node.store.list()
        records = {record.key: record for record in found.records}
        self.loop.deliver(Batch(records, found.revision, full=True))

    def is_in_the_kernel(self, _key, timeout_s):
        return self.loop.wait_applied(self._node.store.list().revision, timeout_s)

    def close(self):
        self.loop.stop()
        self._thread.join()
        self._kernel.close()


def test_add_returns_no_sooner_than_the_policy_is_in_the_kernel(tmp_path):
    """The agent is slow here: with one that is quick, not to wait would go well by chance."""
    with chained_node(tmp_path) as node, contextlib.closing(HeldLoop(node)) as held:
        install_azure(node.bin_dir, node.net_dir, tmp_path / "azure", str(node.socket))
        node.wireserver("10.10.1.5")
        node.write(open_namespace("shop"))
        held.let()
        work = ChainedWorkloads(
            node_name="vm1",
            store=node.store,
            pods=PodEnds(),
            wait_programmed=held.is_in_the_kernel,
            forget=lambda _: 0,
            ready=lambda: "",
            interface_prefixes=lambda: ("azv",),
        )
        web = node.pod("web")
        with (
            agent_at(node.socket, Programs(workloads(node.store), work), node.name("node")),
            ThreadPoolExecutor(1) as runtime,
        ):
            added = runtime.submit(web.add)
            assert eventually(lambda: "web" in node.endpoints())
            with pytest.raises(TimeoutError):
                added.result(0.5)
            held.let()
            web.result = added.result(WAIT_S)
        assert web.answers()


def test_azures_own_route_serves_and_korats_own_comes_when_it_is_gone(azure):
    web = azure.pod("web")
    web.add()
    assert azure.routes()[web.address] == (AZV, BOOT)

    def lose():
        with IPRoute() as ip:
            index = ip.link_lookup(ifname=AZV)[0]
            ip.route("del", dst=f"{web.address}/32", oif=index, scope="link")

    azure.inside("node", lose)
    assert eventually(lambda: azure.routes().get(web.address) == (AZV, KORAT))
    assert web.answers()


def test_delete_takes_the_endpoint_the_link_and_the_address(azure):
    web = azure.pod("web")
    web.add()
    given = web.address
    web.delete()
    web.delete()
    assert (azure.endpoints(), azure.links()) == ({}, set())
    assert given not in azure.routes()
    state = json.loads((azure.folder / "azure" / "azure-vnet-ipam.json").read_text())
    pool = state["IPAM"]["AddressSpaces"]["local"]["Pools"][SUBNET]
    assert not any(held["InUse"] for held in pool["Addresses"].values())


def test_delete_while_the_agent_is_away_is_done_when_it_is_back(azure):
    web = azure.pod("web")
    web.add()
    azure.stop_agent()
    web.delete()
    assert azure.links() == set(), "azure-vnet did its own"
    assert set(azure.endpoints()) == {"web"}
    azure.start_agent()
    assert eventually(lambda: azure.endpoints() == {})


def test_an_add_that_fails_leaves_no_endpoint_and_a_second_one_works(azure):
    web = azure.pod("web")
    azure.client.delete(next(p.key for p in azure.client.read(["Pod"]).of("Pod")))
    with pytest.raises(CniFailed, match="not in the datastore"):
        web.add()
    assert azure.endpoints() == {}
    web.delete()
    db = azure.pod("db")
    db.add()
    assert db.answers()


def test_check_passes_and_sees_an_endpoint_that_somebody_took_away(azure):
    _set_version(azure.net_dir / "10-azure.conflist", "0.4.0")
    web = azure.pod("web")
    result = web.add()
    azure.runtime.check(web.attachment, result)
    azure.client.delete(azure.endpoints()["web"].key)
    with pytest.raises(CniFailed, match="not this container's"):
        azure.runtime.check(web.attachment, result)


def _set_version(path: Path, version: str) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), "cniVersion": version}))


def test_addresses_are_the_nics_own_and_come_back(azure):
    pods = [azure.pod(name) for name in ("web", "db", "api")]
    given = {pod.add()["ips"][0]["address"] for pod in pods}
    assert given == {"10.10.1.5/16", "10.10.1.6/16", "10.10.1.7/16"}
    late = azure.pod("late")
    with pytest.raises(KoratError, match="no address is left"):
        late.add()
    late.delete()
    pods[1].delete()
    assert late.add()["ips"][0]["address"] == "10.10.1.6/16"
    assert late.answers()
    assert len(azure.queried) == 1, "the wireserver is asked at most every 10 s"
    assert azure.queried[0].startswith(f"{NODE_ADDRESS} ")


# Calico's way on Azure: korat makes the link, azure-vnet-ipam gives the address.


@pytest.fixture(scope="module")
def delegating_node(tmp_path_factory):
    folder = tmp_path_factory.mktemp("delegating")
    with chained_node(folder) as node:
        options = {"agent_socket": str(node.socket), "ipam": IPAM["azure-vnet-ipam"]}
        install(node.bin_dir, node.net_dir, options, network="azure")
        install_programs(node.bin_dir, folder / "azure")
        node.wireserver("10.10.1.5", "10.10.1.6")
        node.write(open_namespace("shop"))
        node.start_agent()
        yield node


@pytest.fixture
def delegating(delegating_node):
    """A node whose korat asks azure-vnet-ipam for addresses."""
    with delegating_node.lent():
        yield delegating_node


def test_korat_makes_the_link_with_an_address_of_azures_plugin(delegating):
    web, db = delegating.pod("web"), delegating.pod("db")
    for each, expected in ((web, "10.10.1.5/32"), (db, "10.10.1.6/32")):
        assert each.add()["ips"][0]["address"] == expected
        assert each.answers()
    assert [asked.split()[0] for asked in delegating.queried] == [NODE_ADDRESS]
    state = delegating.folder / "calico-azure" / "networks" / "azure"
    assert json.loads((state / "network.json").read_text())["Subnets"] == [SUBNET]
    web.delete()
    web.delete()
    assert names(state) == [f"{db.attachment.container_id}-eth0", "network.json"]
    late = delegating.pod("late")
    assert late.add()["ips"][0]["address"] == "10.10.1.5/32", "it was given back"


def test_an_add_that_fails_gives_azures_address_back(delegating):
    web = delegating.pod("web")
    delegating.inside("web", lambda: _add_bridge("eth0"))
    with pytest.raises(CniFailed):
        web.add()
    other = delegating.pod("other")
    assert other.add()["ips"][0]["address"] == "10.10.1.5/32"


def _add_bridge(name):
    with IPRoute() as ip:
        ip.link("add", ifname=name, kind="bridge")


# Plugins that somebody else wrote.

SUBNET_OF_PODS = "10.10.2.0/24"


@pytest.fixture
def debian(tmp_path):
    """A node whose workloads' interfaces begin as those of Debian's plugins do."""
    if not Path("/usr/lib/cni/ptp").exists():
        pytest.skip("Debian's containernetworking-plugins are not installed")
    with chained_node(tmp_path, FELIX_INTERFACEPREFIX="azv,veth") as node:
        node.write(open_namespace("shop"))
        node.start_agent()
        yield node


def chain(node, main):
    """The main plugin with host-local, and korat's policy put after it."""
    ipam = {
        "type": "host-local",
        "dataDir": str(node.folder / "ipam"),
        "subnet": SUBNET_OF_PODS,
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    node.configure("other", {**main, "ipam": ipam}, version="1.0.0")
    install_policy(node.bin_dir, node.net_dir, socket=str(node.socket))


def test_ptp_of_debian_with_host_local(debian):
    debian.write(
        policy("some", "shop", selector="app == 'shut'", types=("Ingress",), ingress=[deny()]),
        policy("all", "shop", selector="all()", types=("Egress",), egress=[allow()]),
    )
    chain(debian, {"type": "ptp"})
    web, shut = debian.pod("web"), debian.pod("db", app="shut")
    result = web.add()
    assert web.answers()
    shut.add()
    assert not shut.answers()
    assert shut.reaches_far()
    host_end = result["interfaces"][0]["name"]
    assert host_end.startswith("veth")
    assert debian.endpoints()["web"].spec.interface_name == host_end
    debian.runtime.check(web.attachment, result)
    for each in (web, shut):
        each.delete()
    assert (debian.endpoints(), debian.links()) == ({}, set())


def test_bridge_of_debian_is_refused_where_its_packets_would_pass_unseen(debian):
    """A bridge hands packets on under its own name, so no rule would see the pod's interface."""
    chain(debian, {"type": "bridge", "bridge": "br0", "isGateway": True})
    web = debian.pod("web")
    with pytest.raises(CniFailed, match="is a port of br0"):
        web.add()
    assert debian.endpoints() == {}
    web.delete()

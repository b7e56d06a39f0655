"""``korat-policy``: the endpoint of a pod whose link another plugin made, on a fake kernel."""

from dataclasses import dataclass, field, replace

import msgspec
import pytest

from cni_world import pod, store_with, workloads
from korat.agent.chained import ChainedWorkloads
from korat.agent.chained_result import pod_addresses
from korat.agent.cni_program import Programs
from korat.agent.workload_request import decode
from korat.core.errors import Conflict, Invalid, NotFound, Unavailable, Unsupported
from korat.core.model.key import Key
from korat.core.model.kubernetes.workload import interface_name
from korat.core.net.address import Addr
from korat.drivers.kernel.pod_end import PodEnd
from korat.drivers.store.client import Client

AZV = interface_name("shop", "web", "azv")
MAC = "02:00:00:00:00:01"
NETNS = "/run/netns/c1"
IP = {"version": "4", "address": "10.10.0.9/16", "gateway": "10.10.0.1"}
ENDS = [{"name": AZV}, {"name": "eth0", "sandbox": NETNS, "mac": MAC}]


@dataclass
class FakePods:
    """What the kernel would say; every pod's interface has the same end."""

    links: set[str] = field(default_factory=lambda: {AZV})
    peer: str = AZV
    bridges: dict[str, str] = field(default_factory=dict)

    def read(self, netns, _ifname):
        if not netns.startswith("/run/netns/c"):
            raise NotFound(f"{netns} does not exist")
        return PodEnd(MAC, self.peer)

    def has(self, host_name):
        return host_name in self.links

    def master(self, host_name):
        return self.bridges.get(host_name, "")


@pytest.fixture
def pods():
    return FakePods()


@pytest.fixture
def store():
    return store_with(pod("web", app="web"), pod("db"))


@pytest.fixture
def work(store, pods):
    return ChainedWorkloads(
        node_name="vm1",
        store=store,
        pods=pods,
        wait_programmed=lambda *_: True,
        forget=lambda _: 0,
        ready=lambda: "",
        interface_prefixes=lambda: ("azv", "veth"),
    )


def ask(command="ADD", container="c1", pod_name="web", **config):
    k8s = f"K8S_POD_NAMESPACE=shop;K8S_POD_NAME={pod_name}" if pod_name else ""
    env = {
        "CNI_CONTAINERID": container,
        "CNI_NETNS": f"/run/netns/{container}",
        "CNI_IFNAME": "eth0",
        "CNI_ARGS": k8s,
    }
    base = {"cniVersion": "0.3.0", "name": "azure", "type": "korat-policy"}
    if command in ("ADD", "CHECK"):
        base["prevResult"] = {"cniVersion": "0.3.0", "ips": [IP], "dns": {}}
    body = {"program": "korat-policy", "command": command, "env": env}
    return decode(msgspec.json.encode({**body, "config": {**base, **config}}))


def result(interfaces=(), ips=(IP,), **more):
    return {"cniVersion": "0.3.0", "interfaces": list(interfaces), "ips": list(ips), **more}


def endpoints(store):
    found = Client(store).read(["WorkloadEndpoint"])
    return {e.metadata.name: e for e in found.of("WorkloadEndpoint")}


def test_add_writes_the_endpoint_and_waits_for_its_policy(work, store):
    waited = []
    work = replace(work, wait_programmed=lambda key, s: waited.append((key, s)) or True)
    before = result(ENDS, routes=[{"dst": "0.0.0.0/0"}], dns={"nameservers": ["168.63.129.16"]})
    assert work.add(ask(prevResult=before)) == before
    (found,) = endpoints(store).values()
    assert found.metadata.labels["app"] == "web"
    assert found.metadata.annotations == {"korat/cni-network": "azure"}
    spec = found.spec
    assert (spec.interface_name, spec.mac, spec.ip_networks) == (AZV, MAC, ("10.10.0.9/32",))
    assert (spec.container_id, spec.pod, spec.node) == ("c1", "web", "vm1")
    assert spec.profiles == ("kns.shop", "ksa.shop.default")
    assert [port.name for port in spec.ports] == ["http"]
    assert waited == [(found.key, 30.0)]


@pytest.mark.parametrize("version", ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"])
def test_the_result_is_the_one_before_in_the_asked_version(work, version):
    before = {"ips": [IP], "interfaces": ENDS, "other": {"kept": [1, 2.5, None]}}
    done = work.add(ask(cniVersion=version, prevResult=before))
    assert done == {**before, "cniVersion": version}


ELSEWHERE = {"name": "eth1", "sandbox": NETNS}


@pytest.mark.parametrize(
    ("previous", "addresses"),
    [
        (result(ENDS), ["10.10.0.9"]),
        (result(ENDS, [{**IP, "interface": 1}]), ["10.10.0.9"]),
        (result([], [{**IP, "interface": 0}]), ["10.10.0.9"]),
        (result([{"name": "eth0"}], [{**IP, "interface": 0}]), ["10.10.0.9"]),
        (result(ENDS, [{**IP, "interface": -1}]), ["10.10.0.9"]),
        (result(ENDS, [{**IP, "interface": "1"}]), ["10.10.0.9"]),
        (result([{"name": "azure0"}, *ENDS], [{**IP, "interface": 2}]), ["10.10.0.9"]),
        (
            result(
                [*ENDS, ELSEWHERE],
                [{**IP, "interface": 1}, {"address": "1.2.3.4/8", "interface": 2}],
            ),
            ["10.10.0.9"],
        ),
        (
            result(ENDS, [{**IP, "interface": 1}, {"address": "1.2.3.4/8", "interface": 0}]),
            ["10.10.0.9"],
        ),
        (
            result(ENDS, [IP, {"version": "6", "address": "fd00::9/64"}]),
            ["10.10.0.9", "fd00::9"],
        ),
        (result(ENDS, [IP, IP]), ["10.10.0.9"]),
        ({"ips": [IP], "interfaces": None}, ["10.10.0.9"]),
        ({"ips": [IP], "interfaces": [None, 3]}, ["10.10.0.9"]),
    ],
)
def test_the_pods_addresses_in_every_kind_of_result(previous, addresses):
    found = pod_addresses(ask(prevResult=previous))
    assert found == tuple(map(Addr.parse, addresses))


@pytest.mark.parametrize(
    ("previous", "reason"),
    [
        (None, "prevResult"),
        ({}, "has no address of eth0"),
        ({"ips": "none"}, "has no address of eth0"),
        ({"ips": [None]}, "is not an IP address"),
        ({"ips": [{"address": "nonsense"}]}, "is not an IP address"),
        (result(ENDS, [{**IP, "interface": 0}]), "has no address of eth0"),
        ({"ip4": {"ip": "10.0.0.5/24"}}, "has no address of eth0"),
    ],
)
def test_a_result_that_tells_of_no_address_is_refused(work, store, previous, reason):
    with pytest.raises(Invalid, match=reason):
        work.add(ask(prevResult=previous))
    assert endpoints(store) == {}


VETH = {"name": "veth12"}
BRIDGE = {"name": "cni0"}


@pytest.mark.parametrize(
    ("interfaces", "links", "peer", "chosen"),
    [
        # what the result names, the kernel agreeing or knowing nothing of it
        (ENDS, {AZV}, AZV, AZV),
        (ENDS, {AZV}, "", AZV),
        ([BRIDGE, VETH, ENDS[1]], {"cni0", "veth12", AZV}, "", "veth12"),
        ([BRIDGE, VETH, {"name": "veth7"}], {"veth12", "veth7"}, "veth7", "veth7"),
        # nothing but the pod's own end, or nothing at all: the name that azure-vnet gives
        ([{"name": "eth0"}], {AZV, "veth12"}, "", AZV),
        ([], {AZV}, "", AZV),
        # a name that is none of this node's links is as if it were not there
        ([{"name": "azvgone"}], {AZV}, "", AZV),
        # neither: where the kernel says that the pod's link leads
        ([], {"veth12"}, "veth12", "veth12"),
        ([BRIDGE], {"cni0", "veth12"}, "veth12", "veth12"),
        # a link of the pod's name that is not the pod's
        ([], {AZV, "veth12"}, "veth12", "veth12"),
    ],
)
def test_the_nodes_end_of_the_link_in_every_kind_of_result(
    work, store, interfaces, links, peer, chosen
):
    work = replace(work, pods=FakePods(links, peer))
    work.add(ask(prevResult=result(interfaces)))
    (found,) = endpoints(store).values()
    assert found.spec.interface_name == chosen


@pytest.mark.parametrize(
    ("interfaces", "pods", "error", "reason"),
    [
        ([], FakePods({"eth0"}, ""), NotFound, "no interface of this node leads to eth0"),
        ([VETH], FakePods({"veth12", "veth9"}, "veth9"), Conflict, "leads to veth9, not to veth12"),
        ([], FakePods({"lxc1"}, "lxc1"), Invalid, "FELIX_INTERFACEPREFIX"),
        ([], FakePods(bridges={AZV: "azure0"}), Unsupported, "is a port of azure0"),
    ],
)
def test_an_interface_that_cannot_be_policed_is_refused(
    work, store, interfaces, pods, error, reason
):
    with pytest.raises(error, match=reason):
        replace(work, pods=pods).add(ask(prevResult=result(interfaces)))
    assert endpoints(store) == {}


def test_a_pod_that_is_not_there_or_has_no_network_of_its_own(work, store):
    with pytest.raises(NotFound, match="pod shop/gone"):
        work.add(ask(pod_name="gone"))
    host = pod("host")
    spec = msgspec.structs.replace(host.spec, host_network=True)
    Client(store).create(msgspec.structs.replace(host, spec=spec))
    with pytest.raises(Unsupported, match="hostNetwork"):
        work.add(ask(pod_name="host"))


def slow(*_):
    return False


def defect(*_):
    raise RuntimeError("a defect")


@pytest.mark.parametrize("wait", [slow, defect])
@pytest.mark.parametrize("predecessor", [False, True])
def test_add_that_fails_leaves_no_endpoint(work, store, wait, predecessor):
    if predecessor:
        work.add(ask(container="c0"))
    with pytest.raises((Unavailable, RuntimeError)):
        replace(work, wait_programmed=wait).add(ask())
    assert endpoints(store) == {}


def test_add_again_is_the_same_and_its_failure_leaves_what_runs(work, store):
    work.add(ask())
    revision = store.list().revision
    work.add(ask())
    assert store.list().revision == revision
    with pytest.raises(Unavailable):
        replace(work, wait_programmed=slow).add(ask())
    assert endpoints(store)


def test_without_a_wait_when_the_configuration_says_so(work):
    assert replace(work, wait_programmed=slow).add(ask(policy_setup_timeout_seconds=0))


def test_a_new_container_of_the_pod_inherits_no_connections(work, store):
    events = []
    work = replace(
        work,
        wait_programmed=lambda *_: events.append("policy") or True,
        forget=lambda addrs: events.append({*map(str, addrs)}) or 0,
    )
    work.add(ask())
    work.add(ask(container="c2", prevResult=result(ips=[{"address": "10.10.0.77/16"}])))
    assert events == ["policy", "policy", {"10.10.0.9", "10.10.0.77"}]
    work.delete(ask("DEL"))
    assert [e.spec.container_id for e in endpoints(store).values()] == ["c2"]


def test_delete_takes_the_endpoint_and_its_connections_and_again_is_fine(work, store):
    forgotten = []
    work = replace(work, forget=lambda addrs: forgotten.append([*map(str, addrs)]) or 0)
    work.add(ask())
    for _ in range(2):
        work.delete(ask("DEL"))
    work.delete(ask("DEL", container="cnever"))
    assert endpoints(store) == {}
    assert forgotten == [["10.10.0.9"]]


def test_delete_goes_on_when_connections_cannot_be_forgotten(work, store):
    def no_conntrack(_):
        raise Unsupported("no conntrack in this kernel")

    work.add(ask())
    replace(work, forget=no_conntrack).delete(ask("DEL"))
    assert endpoints(store) == {}


def test_check_passes_after_add(work):
    work.add(ask())
    work.check(ask("CHECK", cniVersion="0.4.0"))


def test_check_says_all_that_is_different(work, pods):
    work.add(ask())
    pods.links = {"veth1"}
    with pytest.raises(NotFound) as failed:
        work.check(ask("CHECK", prevResult=result(ips=[{"address": "10.10.0.8/16"}])))
    assert "is gone" in str(failed.value)
    assert "10.10.0.9/32" in str(failed.value)
    pods.links, pods.peer = {AZV, "veth1"}, "veth1"
    with pytest.raises(NotFound, match="but the pod's link is veth1"):
        work.check(ask("CHECK"))


def test_check_of_what_is_another_containers_or_has_no_result(work):
    with pytest.raises(Invalid, match="prevResult"):
        work.check(ask("CHECK", prevResult=None))
    work.add(ask())
    with pytest.raises(NotFound, match="not this container's"):
        work.check(ask("CHECK", container="c2"))


def valid(*containers):
    named = [{"containerID": each, "ifname": "eth0"} for each in containers]
    return {"cni.dev/valid-attachments": named}


def test_gc_takes_this_networks_endpoints_of_containers_that_are_no_more(work, store):
    work.add(ask())
    work.add(ask(container="c2", pod_name="db"))
    work.gc(ask("GC", **valid("c1", "c2")))
    assert len(endpoints(store)) == 2
    work.gc(ask("GC", name="another", **valid()))
    assert len(endpoints(store)) == 2
    work.gc(ask("GC", **valid("c1")))
    assert set(endpoints(store)) == {"vm1-k8s-web-eth0"}
    with pytest.raises(Invalid, match="valid-attachments"):
        work.gc(ask("GC"))
    replace(work, node_name="vm2").gc(ask("GC", **valid()))
    assert set(endpoints(store)) == {"vm1-k8s-web-eth0"}


def test_gc_of_either_program_leaves_the_others_endpoints(work, store, tmp_path):
    ipam = {"type": "host-local", "subnet": "usePodCidr", "dataDir": str(tmp_path)}
    own = workloads(store)
    work.add(ask())
    own.add(ask(container="c2", pod_name="db", ipam=ipam))
    own.gc(ask("GC", ipam=ipam, **valid("c2")))
    work.gc(ask("GC", **valid("c1")))
    assert set(endpoints(store)) == {"vm1-k8s-web-eth0", "vm1-k8s-db-eth0"}


def test_a_plain_container_gets_its_networks_profile(work, store):
    work.add(ask(container="c123456789abcdef", pod_name=""))
    (found,) = endpoints(store).values()
    assert found.spec.profiles == ("azure",)
    assert Client(store).get(Key("Profile", "", "azure")).spec.labels_to_apply == {"azure": ""}
    work.delete(ask("DEL", container="c123456789abcdef", pod_name=""))
    assert endpoints(store) == {}


def test_a_node_that_is_not_ready_says_so(work, store):
    starting = replace(work, ready=lambda: "it is starting")
    for command in (starting.add, starting.status):
        with pytest.raises(Unavailable, match="it is starting"):
            command(ask())
    work.status(ask("STATUS"))
    assert endpoints(store) == {}


def test_a_request_goes_to_the_program_that_it_names(work, store):
    both = Programs(workloads(store), work)
    both.add(ask())
    (found,) = endpoints(store).values()
    assert found.metadata.annotations
    with pytest.raises(Invalid, match="korat or korat-policy"):
        both.status(msgspec.structs.replace(ask("STATUS"), program="calico"))

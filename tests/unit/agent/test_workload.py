"""The work behind CNI on a fake kernel: what is made, kept, undone and taken away."""

from dataclasses import replace

import msgspec
import pytest

from cni_world import POD_CIDR, FakeLinks, pod, workloads
from korat.agent.address_source import AddressRequest, AddressSources
from korat.agent.calico_ipam import CalicoIpam
from korat.agent.hostlocal import HostLocal
from korat.agent.workload_request import Request, decode
from korat.core.errors import Conflict, Invalid, KoratError, NotFound, Unavailable, Unsupported
from korat.core.ipam.hostlocal import Owner
from korat.core.model.config import IPPool, IPPoolSpec
from korat.core.model.default import apply as with_defaults
from korat.core.model.key import Key
from korat.core.model.kubernetes.workload import interface_name
from korat.core.model.pod import PodSpec
from korat.core.model.resource import Metadata
from korat.core.net.address import Addr
from korat.drivers.store.client import Client
from korat.drivers.store.memory import MemoryStore

HOST_NAME = interface_name("shop", "web")


class FlakyStore(MemoryStore):
    """A store that can be away, as a whole or for writes of some kind."""

    def __init__(self):
        super().__init__()
        self.away = False
        self.writes_away = False

    def _guard(self, *, write):
        if self.away or (write and self.writes_away):
            raise Unavailable("the store is away")

    def list(self, kinds=()):
        self._guard(write=False)
        return super().list(kinds)

    def create(self, key, value):
        self._guard(write=True)
        return super().create(key, value)

    def update(self, key, value, revision):
        self._guard(write=True)
        return super().update(key, value, revision)

    def delete(self, key, revision=None):
        self._guard(write=True)
        return super().delete(key, revision)


@pytest.fixture
def store():
    store = FlakyStore()
    Client(store).create(pod("web", app="web"))
    Client(store).create(pod("db"))
    return store


@pytest.fixture
def links():
    return FakeLinks()


@pytest.fixture
def ask(tmp_path):
    """Build a request about a container of ``shop/web``, or of another pod."""

    def request(command="ADD", container="c1", pod_name="web", ifname="eth0", args="", **config):
        k8s = f"K8S_POD_NAMESPACE=shop;K8S_POD_NAME={pod_name}" if pod_name else ""
        env = {
            "CNI_CONTAINERID": container,
            "CNI_NETNS": f"/run/netns/{container}",
            "CNI_IFNAME": ifname,
            "CNI_ARGS": ";".join(filter(None, (k8s, args))),
        }
        ipam = {"type": "host-local", "subnet": "usePodCidr", "dataDir": str(tmp_path)}
        base = {"cniVersion": "1.0.0", "name": "net", "type": "korat", "ipam": ipam}
        line = {"command": command, "env": env, "config": {**base, **config}}
        return decode(msgspec.json.encode(line))

    return request


def endpoints(store):
    found = Client(store).read(["WorkloadEndpoint"])
    return {e.metadata.name: e for e in found.of("WorkloadEndpoint")}


def held(work, request):
    where = request.config.name, request.config.ipam
    return {a: owner for owner in work.ipam.owners(*where) for a in work.ipam.of(*where, owner)}


def assert_nothing_left(work, links, store, request):
    assert links.links == {}
    assert endpoints(store) == {}
    assert held(work, request) == {}


def test_add_makes_link_address_and_endpoint(store, links, ask):
    waited = []
    work = workloads(store, links, wait_programmed=lambda key, s: waited.append((key, s)) or True)
    result = work.add(ask(mtu=1400))
    assert [i["name"] for i in result["interfaces"]] == [HOST_NAME, "eth0"]
    assert result["interfaces"][1]["sandbox"] == "/run/netns/c1"
    assert result["ips"] == [
        {"address": "10.10.128.2/32", "gateway": "169.254.1.1", "interface": 1}
    ]
    (found,) = endpoints(store).values()
    assert found.metadata.name == "vm1-k8s-web-eth0"
    assert found.metadata.labels["app"] == "web"
    assert found.spec.container_id == "c1"
    assert found.spec.ip_networks == ("10.10.128.2/32",)
    assert found.spec.interface_name == HOST_NAME
    assert found.spec.profiles == ("kns.shop", "ksa.shop.default")
    assert found.spec.mac == result["interfaces"][1]["mac"]
    assert [p.name for p in found.spec.ports] == ["http"]
    assert waited == [(found.key, 30.0)]
    assert links.links[HOST_NAME].mtu_bytes == 1400


@pytest.mark.parametrize(
    ("version", "has_ip_version", "has_mtu"),
    [
        ("0.3.0", True, False),
        ("0.3.1", True, False),
        ("0.4.0", True, False),
        ("1.0.0", False, False),
        ("1.1.0", False, True),
    ],
)
def test_result_has_its_versions_shape(store, ask, version, has_ip_version, has_mtu):
    result = workloads(store).add(ask(cniVersion=version, dns={"domain": "x"}))
    assert result["cniVersion"] == version
    assert [ip.get("version") for ip in result["ips"]] == (["4"] if has_ip_version else [None])
    assert all(("mtu" in i) is has_mtu for i in result["interfaces"])
    assert result["routes"] == [{"dst": "0.0.0.0/0", "gw": "169.254.1.1"}]
    assert result["dns"] == {"domain": "x"}


def test_add_twice_is_the_same_and_makes_nothing_new(store, links, ask):
    work = workloads(store, links)
    first = work.add(ask())
    link, revision = links.links[HOST_NAME], store.list().revision
    assert work.add(ask()) == first
    assert links.links[HOST_NAME] is link
    assert store.list().revision == revision


def test_link_that_is_no_longer_whole_is_made_anew(store, links, ask):
    work = workloads(store, links)
    work.add(ask())
    links.links[HOST_NAME] = replace(links.links[HOST_NAME], addresses=frozenset())
    assert work.add(ask())["ips"][0]["address"] == "10.10.128.2/32"
    assert links.links[HOST_NAME].addresses == {Addr.parse("10.10.128.2")}


def test_new_container_of_a_pod_follows_the_old_one(store, links, ask):
    events = []
    work = workloads(
        store,
        links,
        wait_programmed=lambda *_: events.append("policy") or True,
        forget=lambda addrs: events.append([*addrs]) or 0,
    )
    old = work.add(ask())
    new = work.add(ask(container="c2"))
    addr = Addr.parse("10.10.128.2")
    assert events == ["policy", "policy", [addr]], "it inherits the address, but no connections"
    assert new["ips"] == old["ips"]
    (found,) = endpoints(store).values()
    assert found.spec.container_id == "c2"
    work.delete(ask("DEL"))
    assert endpoints(store)
    assert held(work, ask()) == {Addr.parse("10.10.128.2"): Owner("c2", "eth0")}
    assert HOST_NAME in links.links
    work.delete(ask("DEL", container="c2"))
    assert_nothing_left(work, links, store, ask())


def test_pod_that_is_not_there_is_named(store, links, ask):
    with pytest.raises(NotFound, match="pod shop/gone"):
        workloads(store, links).add(ask(pod_name="gone"))
    assert links.links == {}


def test_pod_in_the_nodes_own_network_is_refused(store, ask):
    Client(store).create(
        msgspec.structs.replace(pod("host"), spec=PodSpec(node_name="vm1", host_network=True))
    )
    with pytest.raises(Unsupported, match="hostNetwork"):
        workloads(store).add(ask(pod_name="host"))


def release(work, request, owner):
    work.ipam.release(AddressRequest("net", request.config.ipam, owner))


def broken_links(work, links, store):
    links.refuse = Conflict("no veth today")
    return work


def broken_store(work, links, store):
    store.writes_away = True
    return work


def slow_policy(work, links, store):
    return replace(work, wait_programmed=lambda *_: False)


def defect(work, links, store):
    def explode(*_):
        raise RuntimeError("a defect")

    return replace(work, wait_programmed=explode)


@pytest.mark.parametrize("fault", [broken_links, broken_store, slow_policy, defect])
@pytest.mark.parametrize("predecessor", [False, True])
def test_add_that_fails_half_way_leaves_nothing(store, links, ask, fault, predecessor):
    work = workloads(store, links)
    if predecessor:
        work.add(ask(container="c0"))
    with pytest.raises((KoratError, RuntimeError)):
        fault(work, links, store).add(ask())
    links.refuse, store.writes_away = None, False
    assert links.links == {}
    assert Owner("c1", "eth0") not in held(work, ask()).values()
    work.delete(ask("DEL"))
    work.delete(ask("DEL", container="c0"))
    assert_nothing_left(work, links, store, ask())
    assert work.add(ask())["ips"]


def test_add_again_that_fails_leaves_the_running_workload_alone(store, links, ask):
    work = workloads(store, links)
    work.add(ask())
    with pytest.raises(Unavailable, match="policy"):
        slow_policy(work, links, store).add(ask())
    assert HOST_NAME in links.links
    assert endpoints(store)
    assert held(work, ask())


def test_no_wait_when_the_configuration_says_so(store, ask):
    work = workloads(store, wait_programmed=lambda *_: False)
    assert work.add(ask(policy_setup_timeout_seconds=0))["ips"]


def test_no_address_left_is_worth_another_try(store, ask, tmp_path):
    ipam = {"subnet": "10.0.0.0/30", "dataDir": str(tmp_path)}
    work = workloads(store)
    work.add(ask(ipam=ipam))
    with pytest.raises(Unavailable, match="no free address"):
        work.add(ask(container="c2", pod_name="db", ipam=ipam))


@pytest.mark.parametrize(
    "extra", [{"args": "IP=10.10.128.77"}, {"runtimeConfig": {"ips": ["10.10.128.77/24"]}}]
)
def test_requested_address(store, ask, extra):
    assert workloads(store).add(ask(**extra))["ips"][0]["address"] == "10.10.128.77/32"


def test_delete_takes_all_and_again_is_fine(store, links, ask):
    forgotten = []
    work = workloads(store, links, forget=lambda addrs: forgotten.append(list(addrs)) or 0)
    work.add(ask())
    work.delete(ask("DEL"))
    assert_nothing_left(work, links, store, ask())
    assert forgotten == [[Addr.parse("10.10.128.2")]]
    work.delete(ask("DEL"))
    work.delete(ask("DEL", container="never"))
    assert_nothing_left(work, links, store, ask())


def test_delete_goes_on_when_connections_cannot_be_forgotten(store, links, ask):
    def no_conntrack(_):
        raise Unsupported("no conntrack in this kernel")

    work = workloads(store, links, forget=no_conntrack)
    work.add(ask())
    work.delete(ask("DEL"))
    assert_nothing_left(work, links, store, ask())


def test_delete_without_store_keeps_the_address_until_the_endpoint_is_gone(store, links, ask):
    work = workloads(store, links)
    work.add(ask())
    store.away = True
    with pytest.raises(Unavailable):
        work.delete(ask("DEL"))
    assert links.links == {}, "traffic must stop at once"
    assert held(work, ask())
    store.away = False
    work.delete(ask("DEL"))
    assert_nothing_left(work, links, store, ask())


def test_check_passes_after_add_and_says_all_that_is_wrong(store, links, ask):
    work = workloads(store, links)
    result = work.add(ask())
    check = ask("CHECK", prevResult=result)
    work.check(check)
    links.links[HOST_NAME] = replace(
        links.links[HOST_NAME],
        up=False,
        pod_mac="02:00:00:00:00:99",
        addresses=frozenset(),
        host_routes=frozenset(),
        default_routes=frozenset(),
    )
    release(work, check, check.owner)
    Client(store).delete(next(iter(endpoints(store).values())).key)
    with pytest.raises(NotFound) as failed:
        work.check(check)
    for words in (
        "not up",
        "MAC address 02:00:00:00:00:99",
        "lost its address 10.10.128.2",
        "no route to 10.10.128.2",
        "no IPv4 default route",
        "not reserved",
        "vm1-k8s-web-eth0 is not this container's",
    ):
        assert words in str(failed.value)


def test_check_lets_later_plugins_add(store, links, ask):
    work = workloads(store, links)
    result = work.add(ask())
    result["interfaces"].append({"name": "bw0", "mac": "02:00:00:00:00:77"})
    result["ips"].append({"address": "192.0.2.1/24", "interface": 2})
    work.check(ask("CHECK", prevResult=result))


def test_check_of_what_is_gone_or_has_no_result(store, links, ask):
    work = workloads(store, links)
    with pytest.raises(Invalid, match="prevResult"):
        work.check(ask("CHECK"))
    with pytest.raises(NotFound, match="gone"):
        work.check(ask("CHECK", prevResult={}))


# The prefix that names endpoints.


def prefixed(work, *prefixes):
    return replace(work, interface_prefixes=lambda: prefixes)


def test_the_first_prefix_names_links(store, links, ask):
    work = prefixed(workloads(store, links), "azv", "veth")
    result = work.add(ask())
    work.add(ask(container="0123456789abcdef", pod_name=""))
    names = {interface_name("shop", "web", "azv"), "azv0123456789a"}
    assert set(links.links) == names
    assert result["interfaces"][0]["name"] in names
    assert {e.spec.interface_name for e in endpoints(store).values()} == names
    work.check(ask("CHECK", prevResult=result))


def test_another_prefix_loses_no_link_that_is_there(store, links, ask):
    work = workloads(store, links)
    result = work.add(ask())
    later = prefixed(work, "azv")
    later.check(ask("CHECK", prevResult=result))
    assert later.add(ask())["interfaces"] == result["interfaces"], "asked again it is the same"
    later.delete(ask("DEL"))
    assert_nothing_left(work, links, store, ask())


def test_another_prefix_and_a_new_container_of_the_pod(store, links, ask):
    work = workloads(store, links)
    old = work.add(ask())
    later = prefixed(work, "azv")
    new = later.add(ask(container="c2"))
    assert new["ips"] == old["ips"]
    assert set(links.links) == {interface_name("shop", "web", "azv")}, "two would share an address"
    later.delete(ask("DEL"))
    assert endpoints(store), "the old container's end is not the new one's"
    later.delete(ask("DEL", container="c2"))
    assert_nothing_left(work, links, store, ask())


def test_a_link_under_another_prefix_goes_without_the_store(store, links, ask):
    work = workloads(store, links)
    work.add(ask())
    store.away = True
    with pytest.raises(Unavailable):
        prefixed(work, "azv").delete(ask("DEL"))
    assert links.links == {}


def valid(*attachments):
    return {
        "cni.dev/valid-attachments": [{"containerID": c, "ifname": "eth0"} for c in attachments]
    }


def test_gc_takes_what_is_not_named(store, links, ask):
    work = workloads(store, links)
    work.add(ask(container="web-1"))
    work.add(ask(container="db-1", pod_name="db"))
    work.gc(ask("GC", **valid("web-1", "db-1")))
    assert len(links.links) == 2
    work.gc(ask("GC", **valid("web-1")))
    assert set(links.links) == {HOST_NAME}
    assert set(endpoints(store)) == {"vm1-k8s-web-eth0"}
    assert set(held(work, ask()).values()) == {Owner("web-1", "eth0")}
    work.gc(ask("GC", **valid()))
    assert_nothing_left(work, links, store, ask())


def test_gc_finds_each_part_alone(store, links, ask):
    """A link, an address, an endpoint that lost the others; another network's stay."""
    work = workloads(store, links)
    work.add(ask(container="a"))
    release(work, ask(), Owner("a", "eth0"))
    Client(store).delete(next(iter(endpoints(store).values())).key)
    work.ipam.assign(AddressRequest("net", ask().config.ipam, Owner("b", "eth0")))
    work.add(ask(container="other", pod_name="db", name="othernet"))
    work.add(ask(container="c", pod_name="", ifname="eth7"))
    links.delete("calic")
    release(work, ask(), Owner("c", "eth7"))
    work.gc(ask("GC", **valid()))
    assert held(work, ask()) == {}
    assert set(links.links) == {interface_name("shop", "db")}
    assert set(endpoints(store)) == {"vm1-k8s-db-eth0"}


def test_gc_without_a_list_takes_nothing(store, links, ask):
    work = workloads(store, links)
    work.add(ask())
    with pytest.raises(Invalid, match="valid-attachments"):
        work.gc(ask("GC"))
    assert HOST_NAME in links.links


def test_gc_leaves_other_nodes_endpoints(store, links, ask):
    other = replace(workloads(store, FakeLinks()), node_name="vm2")
    other.add(ask(container="far"))
    workloads(store, links).gc(ask("GC", name="net2", **valid()))
    assert set(endpoints(store)) == {"vm2-k8s-web-eth0"}


def test_status(store, ask):
    workloads(store).status(ask("STATUS"))
    with pytest.raises(Unavailable, match="in sync"):
        workloads(store, ready=lambda: "the store is not in sync").status(ask("STATUS"))
    with pytest.raises(Unavailable, match="pod CIDR"):
        workloads(store, ipam=HostLocal(list)).status(ask("STATUS"))


def test_node_that_is_not_ready_takes_no_workload(store, links, ask):
    work = workloads(store, links, ready=lambda: "it is starting")
    with pytest.raises(Unavailable, match="it is starting"):
        work.add(ask())
    assert links.links == {}


def test_plain_container_gets_its_networks_profile(store, links, ask):
    request = ask(container="0123456789abcdef", pod_name="")
    work = workloads(store, links)
    work.add(request)
    work.add(request)
    assert set(links.links) == {"cali0123456789a"}
    (found,) = endpoints(store).values()
    assert found.metadata.name == "vm1-cni-0123456789abcdef-eth0"
    assert found.spec.profiles == ("net",)
    profile = Client(store).get(Key("Profile", "", "net"))
    assert profile.spec.labels_to_apply == {"net": ""}
    work.delete(request)
    assert_nothing_left(work, links, store, request)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b"{}",
        b'{"command":"ADD"}',
        b'{"command":"ADD","config":{"cniVersion":"1.0.0","name":"../x"}}',
        b'{"command":"ADD","config":{"cniVersion":"1.0.0","name":"a","mtu":-1}}',
        b'{"command":"DEL","config":{"name":"a"},"env":{"CNI_CONTAINERID":"../../x"}}',
        b'{"command":"DEL","config":{"cniVersion":"1.0.0","name":"a"},"env":{"CNI_IFNAME":"a/b"}}',
        b"\xff\xff",
    ],
)
def test_line_that_is_no_request(line):
    with pytest.raises(Invalid):
        decode(line)


def test_interface_command_without_interface_is_refused(store):
    request = decode(b'{"command":"DEL","config":{"cniVersion":"1.0.0","name":"a"}}')
    assert isinstance(request, Request)
    with pytest.raises(Invalid, match="CNI_CONTAINERID"):
        workloads(store).delete(request)


def test_addresses_come_from_the_pod_cidr(store, ask):
    found = workloads(store).add(ask())["ips"][0]["address"]
    assert Addr.parse(found.split("/")[0]) in POD_CIDR


# Addresses from Calico's pools.

CALICO = {"type": "calico-ipam"}


@pytest.fixture
def pooled(store, links):
    """The node's workloads, with a pool to take addresses from."""
    spec = IPPoolSpec(cidr="192.168.0.0/16", block_size=26)
    Client(store).create(with_defaults(IPPool(metadata=Metadata(name="pods"), spec=spec)))
    sources = AddressSources({"calico-ipam": CalicoIpam(store, "vm1")})
    return workloads(store, links, ipam=sources, mtu_bytes=lambda: 1350)


def addresses(result):
    return [ip["address"] for ip in result["ips"]]


def test_an_address_of_a_pool_comes_and_goes(pooled, store, links, ask):
    result = pooled.add(ask(ipam=CALICO))
    assert addresses(result) == addresses(pooled.add(ask(ipam=CALICO)))
    pooled.check(ask("CHECK", prevResult=result, ipam=CALICO))
    pooled.delete(ask("DEL", ipam=CALICO))
    assert_nothing_left(pooled, links, store, ask(ipam=CALICO))


def test_a_new_container_of_a_pod_has_an_address_of_its_own(pooled, ask):
    old = addresses(pooled.add(ask(container="a", ipam=CALICO)))
    new = addresses(pooled.add(ask(container="b", ipam=CALICO)))
    assert old != new
    pooled.delete(ask("DEL", container="a", ipam=CALICO))
    kept = held(pooled, ask(ipam=CALICO))
    assert {(f"{addr}/32", owner.container_id) for addr, owner in kept.items()} == {(new[0], "b")}


def test_delete_while_the_store_is_away_stops_traffic_and_the_rest_follows(
    pooled, store, links, ask
):
    pooled.add(ask(ipam=CALICO))
    store.away = True
    with pytest.raises(Unavailable):
        pooled.delete(ask("DEL", ipam=CALICO))
    assert links.links == {}, "traffic must stop at once"
    store.away = False
    pooled.delete(ask("DEL", ipam=CALICO))
    assert_nothing_left(pooled, links, store, ask(ipam=CALICO))


def test_gc_spares_a_container_whatever_its_interface_is_called(pooled, ask):
    """A block does not say on which interface an address is."""
    pooled.add(ask(container="web-1", ifname="net1", ipam=CALICO))
    pooled.add(ask(container="db-1", pod_name="db", ipam=CALICO))
    named = {"cni.dev/valid-attachments": [{"containerID": "web-1", "ifname": "net1"}]}
    pooled.gc(ask("GC", ipam=CALICO, **named))
    owners = pooled.ipam.owners("net", CALICO)
    assert {owner.container_id for owner in owners} == {"web-1"}


def test_a_link_gets_what_the_networking_option_has_room_for(pooled, links, ask):
    pooled.add(ask(ipam=CALICO))
    assert [seen.mtu_bytes for seen in links.links.values()] == [1350]
    pooled.add(ask(container="b", pod_name="db", ipam=CALICO, mtu=1400))
    assert {seen.mtu_bytes for seen in links.links.values()} == {1350, 1400}

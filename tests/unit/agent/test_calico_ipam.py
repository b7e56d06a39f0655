"""Addresses from Calico's pools: what CNI and the pods' annotations ask for, and giving back."""

import json

import pytest

from korat.agent.address_source import CALICO, AddressRequest, AddressSources
from korat.agent.calico_ipam import CalicoIpam
from korat.core.errors import Conflict, Invalid, Unavailable
from korat.core.ipam.hostlocal import Owner
from korat.core.model.config import IPPool, IPPoolSpec
from korat.core.model.default import apply as with_defaults
from korat.core.model.endpoint import Node
from korat.core.model.ipam import IPAMBlock
from korat.core.model.kubernetes.profile import namespace_profile
from korat.core.model.pod import Pod
from korat.core.model.resource import Metadata
from korat.core.net.address import Addr, Family, Prefix
from korat.drivers.store.client import Client
from korat.drivers.store.memory import MemoryStore

DUAL = {"assign_ipv6": "true"}
POOLS = {"four": "10.1.0.0/16", "other": "10.2.0.0/16", "six": "fd00:1::/64"}


@pytest.fixture
def store():
    made = MemoryStore()
    client = Client(made)
    client.create(Node(metadata=Metadata(name="n1")))
    for name, cidr in POOLS.items():
        mode = "Manual" if name == "other" else "Automatic"
        spec = IPPoolSpec(cidr=cidr, assignment_mode=mode)
        client.create(with_defaults(IPPool(metadata=Metadata(name=name), spec=spec)))
    return made


def owner(number):
    return Owner(f"c{number}", "eth0")


def pod(**annotations):
    full = {f"cni.projectcalico.org/{key}": value for key, value in annotations.items()}
    return Pod(metadata=Metadata(name="web", namespace="shop", annotations=full))


def asked(number=1, ipam=(), **more):
    return AddressRequest("net", dict(ipam), owner(number), **more)


def inside(addr, cidr):
    return addr in Prefix.parse(cidr)


def attributes(store):
    blocks = Client(store).read(["IPAMBlock"]).of("IPAMBlock")
    return [a for block in blocks if isinstance(block, IPAMBlock) for a in block.spec.attributes]


def test_an_address_and_its_handle(store):
    source = CalicoIpam(store, "n1")
    (addr,) = source.assign(asked(pod=pod()))
    assert inside(addr, POOLS["four"])
    (attribute,) = attributes(store)
    assert attribute.handle_id == "net.c1"
    whose = {key: attribute.secondary[key] for key in ("node", "namespace", "pod")}
    assert whose == {"node": "n1", "namespace": "shop", "pod": "web"}
    assert attribute.secondary["timestamp"].endswith("Z")
    assert source.of("net", {}, owner(1)) == (addr,)
    assert source.owners("net", {}) == {Owner("c1", "")}
    assert source.owners("another", {}) == frozenset()


def test_the_same_again_when_asked_again(store):
    source = CalicoIpam(store, "n1")
    assert source.assign(asked()) == source.assign(asked())
    assert source.assign(asked(2)) != source.assign(asked())


def test_of_both_ip_versions(store):
    source = CalicoIpam(store, "n1")
    four, six = source.assign(asked(ipam=DUAL))
    assert (four.family, six.family) == (Family.V4, Family.V6)
    (only,) = source.assign(asked(2, {"assign_ipv4": "false", **DUAL}))
    assert only.family is Family.V6


def test_what_an_earlier_try_left_is_completed(store):
    source = CalicoIpam(store, "n1")
    (four,) = source.assign(asked())
    found = source.assign(asked(ipam=DUAL))
    assert found[0] == four
    assert [addr.family for addr in found] == [Family.V4, Family.V6]


def test_of_two_one_alone_is_given_back(store):
    Client(store).delete(IPPool(metadata=Metadata(name="six")).key)
    source = CalicoIpam(store, "n1")
    with pytest.raises(Unavailable, match="IPv6"):
        source.assign(asked(ipam=DUAL))
    assert source.of("net", {}, owner(1)) == ()


def test_release_and_again(store):
    source = CalicoIpam(store, "n1")
    addrs = source.assign(asked())
    assert source.release(AddressRequest("net", {}, owner(1))) == addrs
    assert source.release(AddressRequest("net", {}, owner(1))) == ()
    assert source.of("net", {}, owner(1)) == ()
    assert source.owners("net", {}) == frozenset()


def test_owners_are_this_nodes(store):
    Client(store).create(Node(metadata=Metadata(name="n2")))
    CalicoIpam(store, "n2").assign(asked())
    assert CalicoIpam(store, "n1").owners("net", {}) == frozenset()


def test_pools_of_the_pod_its_namespace_and_the_configuration(store):
    named = {"cni.projectcalico.org/ipv4pools": json.dumps(["other"])}
    Client(store).create(namespace_profile("shop", {}, named))
    source = CalicoIpam(store, "n1")
    four, other = POOLS["four"], POOLS["other"]
    configured = {"ipv4_pools": [four]}
    (by_pod,) = source.assign(asked(1, configured, pod=pod(ipv4pools=json.dumps([four]))))
    (by_namespace,) = source.assign(asked(2, configured, pod=pod()))
    (by_configuration,) = source.assign(asked(3, {"ipv4_pools": ["other"]}))
    assert inside(by_pod, four)
    assert inside(by_namespace, other)
    assert inside(by_configuration, other)


def test_an_address_by_name(store):
    source = CalicoIpam(store, "n1")
    wanted = Addr.parse("10.1.7.7")
    assert source.assign(asked(requested=(wanted,))) == (wanted,)
    with pytest.raises(Conflict, match=r"10\.1\.7\.7"):
        source.assign(asked(2, pod=pod(ipAddrs='["10.1.7.7"]')))
    source.release(AddressRequest("net", {}, owner(1)))
    assert source.assign(asked(2, pod=pod(ipAddrs='["10.1.7.7"]'))) == (wanted,)


def test_beside_named_addresses_none_are_drawn(store):
    source = CalicoIpam(store, "n1")
    wanted = Addr.parse("10.1.7.7")
    assert source.assign(asked(ipam=DUAL, requested=(wanted,))) == (wanted,)


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (asked(ipam={"assign_ipv6": "perhaps"}), "ipam.assign_ipv6"),
        (asked(ipam={"ipv4_pools": "four"}), "ipam.ipv4_pools"),
        (asked(pod=pod(ipv4pools="four")), "ipv4pools"),
        (asked(pod=pod(ipAddrs="[1]")), "ipAddrs"),
        (asked(pod=pod(ipAddrs='["x"]')), "is not an IP address"),
        (asked(requested=(Addr.parse("10.9.0.1"),)), "10.9.0.1"),
    ],
)
def test_what_cannot_be_asked_for(store, request_, words):
    with pytest.raises(Invalid, match=words.replace("[", r"\[")):
        CalicoIpam(store, "n1").assign(request_)


def test_check(store):
    sources = AddressSources({CALICO: CalicoIpam(store, "n1")})
    sources.check({"type": CALICO})
    with pytest.raises(Invalid):
        sources.check({"type": CALICO, "assign_ipv4": "perhaps"})
    with pytest.raises(Unavailable, match="no IPPool"):
        CalicoIpam(MemoryStore(), "n1").check({})

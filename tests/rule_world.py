"""The world of ``examples/every-rule-field.yaml`` with addresses, and packets that can tell.

The lab gives its pods addresses of their nodes' pod networks; here they get such too, and of IPv6
as well. Shared by the tests that ask whether each field matters, and whether kernels agree.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from msgspec.structs import replace as changed

from korat.cli.manifest import read
from korat.cli.policy_source import Snapshot, from_items
from korat.core.model.pod import Pod, PodIp
from korat.core.net.address import Addr, Family
from korat.core.policy.match import Packet
from lab_world import ROOT

EVERY_FIELD = ROOT / "examples" / "every-rule-field.yaml"
#: Who is in no pod: of a set of addresses, of none, of a set's and of no namespace's.
STRANGERS = tuple(
    map(Addr.parse, ("203.0.113.9", "203.0.113.200", "198.51.100.9", "192.0.2.1", "2001:db8::1"))
)
TCP, UDP, SCTP, GRE, UDPLITE = 6, 17, 132, 47, 136
CLIENT = 40000
_PORTS = (
    7,
    9,
    53,
    80,
    443,
    514,
    515,
    873,
    1500,
    3868,
    5432,
    6379,
    8080,
    9000,
    9001,
    9090,
    9200,
    9999,
)
#: Protocol and its two numbers: ports, or type and code.
_PORTED = (
    *((protocol, CLIENT, port) for port in _PORTS for protocol in (TCP, UDP, SCTP)),
    *((TCP, sport, port) for sport in (53, 31337) for port in (443, 5432, 9000)),
    *((UDP, sport, port) for sport in (53, 1024) for port in (7, 9, 80)),
    (UDPLITE, CLIENT, 9000),
    (GRE, 0, 0),
)
_ICMP = {
    Family.V4: ((1, 8, 0), (1, 8, 1), (1, 13, 0), (1, 3, 1), (58, 128, 0)),
    Family.V6: ((58, 128, 0), (58, 128, 1), (58, 1, 0), (58, 129, 0), (1, 8, 0)),
}


def snapshot() -> Snapshot:
    """The example in a store of its own, every pod running on its node."""
    items, count = [], 0
    for item in read([str(EVERY_FIELD)]):
        resources = []
        for resource in item.resources:
            if isinstance(resource, Pod):
                count += 1
                resources.append(_running(resource, count))
            else:
                resources.append(resource)
        items.append(replace(item, resources=tuple(resources)))
    return from_items(items)


def _running(pod: Pod, number: int) -> Pod:
    node = int(pod.spec.node_name.removeprefix("vm"))
    ips = (PodIp(ip=f"10.10.{127 + node}.{number + 1}"), PodIp(ip=f"fd00::{node}:{number + 1}"))
    return changed(pod, status=changed(pod.status, phase="Running", pod_ips=ips))


def packets(src: Addr, dst: Addr) -> Iterator[Packet]:
    """Every packet between two addresses of one family that may tell two rules apart."""
    for protocol, a, b in _PORTED:
        yield Packet(src, dst, protocol, sport=a, dport=b)
    for protocol, a, b in _ICMP[src.family]:
        yield Packet(src, dst, protocol, icmp_type=a, icmp_code=b)


def pairs(own: Sequence[Addr], everybody: Sequence[Addr]) -> Iterator[tuple[Addr, Addr]]:
    """Each address of one's own with each other address of its family."""
    for addr in own:
        yield from ((addr, peer) for peer in everybody if peer.family is addr.family)

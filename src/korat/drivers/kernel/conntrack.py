"""Connection tracking: forget the connections of an address that has left this node.

Otherwise the next pod with that address would inherit its predecessor's permitted connections.
Works in the namespace of the calling thread. Not for re-judging connections after a policy change.
Source: the kernel's net/netfilter/nf_conntrack_netlink.c; Calico felix/conntrack.
"""

import errno
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.nfnetlink.nfctsocket import NFCTAttrTuple, NFCTSocket

from korat.core.errors import Unavailable, Unsupported
from korat.core.net.address import Addr, Family
from korat.core.net.port import Protocol
from korat.drivers.kernel.family import AF

_ICMP = {Protocol.ICMP: "ICMP", Protocol.ICMPV6: "ICMPV6"}

# While a pod's link comes down, packets on their way may still make entries.
_ROUNDS = 3


def forget(addresses: Iterable[Addr]) -> int:
    """Delete every entry whose original or reply source is one of these; returns how many.

    Raises:
        Unsupported: not root, or the kernel has no connection tracking.
        Unavailable: the kernel refuses.
    """
    return sum(_forget(addr) for addr in addresses)


def _forget(addr: Addr) -> int:
    family, source = AF[addr.family], str(addr)
    gone = 0
    with _errors(addr), NFCTSocket(nfgen_family=family) as table:
        for _ in range(_ROUNDS):
            found = [*_entries(table, family, source)]
            gone += sum(_delete(table, entry) for entry in found)
            if not found:
                break
    return gone


def _entries(table: NFCTSocket, family: int, source: str) -> Iterator[dict[str, Any]]:
    """What to delete, as arguments of ``entry``."""
    wanted = NFCTAttrTuple(family=family, saddr=source)
    seen = set()
    for message in _candidates(table, wanted):
        number = message.get_attr("CTA_ID")
        sides = (message.get_attr("CTA_TUPLE_ORIG"), message.get_attr("CTA_TUPLE_REPLY"))
        if number in seen or not any(wanted.nla_eq(family, side) for side in sides):
            continue
        seen.add(number)
        zone = message.get_attr("CTA_ZONE")
        original = {"tuple_orig": _tuple(family, sides[0])}
        yield original if zone is None else {**original, "zone": zone}


def _candidates(table: NFCTSocket, wanted: NFCTAttrTuple) -> Iterator[Any]:
    """At least every entry with this source; the kernel does the searching where it can.

    Kernels (seen with 6.18) filter IPv6 addresses the wrong way round and leave out exactly what
    was asked for; those before 5.8 do not filter at all. So the caller compares once more.
    """
    if wanted.family == AF[Family.V6]:
        yield from table.dump()
        return
    yield from table.dump(tuple_orig=wanted)
    yield from table.dump(tuple_reply=wanted)


def _tuple(family: int, nested: Any) -> NFCTAttrTuple:  # noqa: ANN401 - pyroute2's own message
    """The whole original direction: what the kernel wants to find one entry again."""
    ip, proto = nested.get_attr("CTA_TUPLE_IP"), nested.get_attr("CTA_TUPLE_PROTO")
    version = 4 if family == AF[Family.V4] else 6
    number = proto.get_attr("CTA_PROTO_NUM")
    fields = {
        "saddr": ip.get_attr(f"CTA_IP_V{version}_SRC"),
        "daddr": ip.get_attr(f"CTA_IP_V{version}_DST"),
        "proto": number,
        "sport": proto.get_attr("CTA_PROTO_SRC_PORT"),
        "dport": proto.get_attr("CTA_PROTO_DST_PORT"),
    }
    if number in _ICMP:
        for field in ("id", "type", "code"):
            fields[f"icmp_{field}"] = proto.get_attr(f"CTA_PROTO_{_ICMP[number]}_{field.upper()}")
    return NFCTAttrTuple(family=family, **fields)


def _delete(table: NFCTSocket, entry: dict[str, Any]) -> int:
    try:
        table.entry("del", **entry)
    except NetlinkError as error:
        if error.code != errno.ENOENT:
            raise
        return 0
    return 1


@contextmanager
def _errors(addr: Addr) -> Iterator[None]:
    try:
        yield
    except NetlinkError as error:
        raise Unavailable(f"connections of {addr} cannot be deleted: {error}") from error
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EPROTONOSUPPORT):
            raise Unsupported(
                f"connections of {addr} cannot be deleted: {error.strerror}",
                "run as root on a kernel with nf_conntrack",
            ) from error
        raise Unavailable(f"connections of {addr} cannot be deleted: {error}") from error

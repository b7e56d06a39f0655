"""Which interface the kernel would send by, asked as it stands; not for changing routes.

Works in the network namespace of the calling thread.
Source: linux/rtnetlink.h (RTM_GETROUTE), ip-route(8) ``get``.
"""

import socket
import struct

from korat.core.net.address import Addr
from korat.drivers.kernel import nfnetlink
from korat.drivers.kernel.family import AF

_NETLINK_ROUTE = 0
_GETROUTE, _NEWROUTE = 26, 24
_DST, _SRC, _OIF = 1, 2, 4
#: Family, lengths of both prefixes, TOS, table, protocol, scope, type; then flags.
_HEADER = struct.Struct("=8BI")
_NUMBER = struct.Struct("=I")
_TYPE_AT, _UNICAST = 7, 1
_BUFFER = 1 << 16


def interface_toward(addr: Addr, own: Addr | None = None) -> str | None:
    """The interface by which a packet to another machine would leave; None where it would not.

    ``own`` is the source where the node itself sends, as routes may depend on it.
    """
    width = addr.family.bits
    body = _HEADER.pack(AF[addr.family], width, width if own else 0, 0, 0, 0, 0, 0, 0)
    body += nfnetlink.attribute(_DST, addr.value.to_bytes(width // 8))
    if own is not None:
        body += nfnetlink.attribute(_SRC, own.value.to_bytes(width // 8))
    with nfnetlink.open_socket(_BUFFER, _NETLINK_ROUTE) as sock:
        sock.send(nfnetlink.message(_GETROUTE, 0, body))
        answer = nfnetlink.received(sock) or b""
    for message in nfnetlink.messages(answer):
        if message.kind == _NEWROUTE and message.body[_TYPE_AT] == _UNICAST:
            return _interface(message.body)
    return None


def _interface(route: bytes) -> str | None:
    found = dict(nfnetlink.attributes(route, _HEADER.size)).get(_OIF)
    if found is None:
        return None
    try:
        return socket.if_indextoname(_NUMBER.unpack(found)[0])
    except OSError:
        return None  # it went meanwhile

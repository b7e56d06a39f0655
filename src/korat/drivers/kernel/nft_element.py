"""Changes of elements and counters straight over netlink, without libnftables.

libnftables reads every counter and set of the table anew for each transaction, some microseconds
per counter, and parses text; a node with thousands of rules would pay for all of them at every pod
that comes. Most of what a node changes is elements of maps without spans, and counters; this writes
those in one batch, whose cost is what changes. Whatever else a transaction holds is libnftables'.

The text is the one that libnftables would be given. What the lookups hold is learned from the text
that declares them, so a table that was declared by somebody else is left to libnftables too.
Source: linux/netfilter/nf_tables.h, linux/netfilter/nfnetlink.h; net/netfilter/nf_tables_api.c.
"""

import errno
import ipaddress
import os
import re
import socket
import struct
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence

from korat.core.errors import Conflict, KoratError, Unavailable, Unsupported
from korat.drivers.kernel.nfnetlink import (
    ACK,
    ERROR,
    GENERIC,
    attribute,
    fault,
    messages,
    numbered,
    open_socket,
)

_SUBSYSTEM = 10
_BATCH_BEGIN, _BATCH_END = 16, 17
_NEWSETELEM, _DELSETELEM, _NEWOBJ, _DELOBJ = (_SUBSYSTEM << 8 | n for n in (12, 14, 18, 20))
_CREATE = 0x400
_NFPROTO_INET = 1
_NESTED = 0x8000
_LIST_TABLE, _LIST_SET, _LIST_ELEMENTS = 1, 2, 3 | _NESTED
_LIST_ELEM, _ELEM_KEY, _ELEM_DATA, _ELEM_OBJECT = 1 | _NESTED, 1 | _NESTED, 2 | _NESTED, 9
_ELEM_TIMEOUT = 4
#: The flags of the sets whose elements go by themselves.
_TIMED = " flags dynamic,timeout;"
_DATA_VALUE = 1
_OBJ_TABLE, _OBJ_NAME, _OBJ_TYPE, _OBJ_DATA, _OBJ_USERDATA = 1, 2, 3, 4 | _NESTED, 8
_COUNTER = 1
_COMMENT = 0  # NFTNL_UDATA_OBJ_COMMENT
#: An attribute's length has 16 bits, and the largest element takes some 80 octets.
_ELEMENTS_PER_MESSAGE = 500
_QUEUE_BYTES = 4 << 20
#: Not in Python's socket module; unlike SO_SNDBUF it is not held to net.core.wmem_max.
_SO_SNDBUFFORCE = 32
_IFNAME_BYTES = 16
#: Messages are counted in 32 bits; a batch that begins below this does not reach their end.
_SEQUENCE_MAX = 1 << 31

_DECLARED = re.compile(
    r"^add (?:map|set) inet korat (\S+) \{ type ([^:;]+?)(?: : (\w+))?;( flags [^;]*;)?",
    re.MULTILINE,
)
_ELEMENTS = re.compile(r"(add|delete) element inet korat (\S+) \{ (.*) \}")
_COUNTERS = re.compile(r'(add|delete) counter inet korat (\S+)(?: \{ comment "(.*)"; \})?')


def _v4(text: str) -> bytes:
    return socket.inet_aton(text)


def _v6(text: str) -> bytes:
    return ipaddress.IPv6Address(text).packed


def _name(text: str) -> bytes:
    return text.strip('"').encode().ljust(_IFNAME_BYTES, b"\0")


def _classid(text: str) -> bytes:
    if text == "none":
        return bytes(4)
    major, _, minor = text.partition(":")
    return (int(major, 16) << 16 | int(minor, 16)).to_bytes(4, sys.byteorder)


def _octet(text: str) -> bytes:
    return struct.pack("!B", int(text))


def _port(text: str) -> bytes:
    return struct.pack("!H", int(text))


_Encoder = Callable[[str], bytes]
_ENCODERS: Mapping[str, _Encoder] = {
    "ipv4_addr": _v4,
    "ipv6_addr": _v6,
    "ifname": _name,
    "classid": _classid,
    "inet_proto": _octet,
    "inet_service": _port,
}


class ElementWriter:
    """Writes such transactions into one network namespace: that of the thread which makes it.

    One thread at a time may use it.
    """

    def __init__(self) -> None:
        self._socket = open_socket(_QUEUE_BYTES)
        self._sequence = 0
        self._room = 0
        self._lookups: dict[str, tuple[tuple[_Encoder, ...], str]] = {}

    def close(self) -> None:
        """Give the netlink socket back."""
        self._socket.close()

    def learn(self, text: str) -> None:
        """Hear of a transaction that libnftables has carried out."""
        for name, types, value, flags in _DECLARED.findall(text):
            kinds = types.split(" . ")
            if (
                flags not in ("", _TIMED)
                or value not in ("classid", "counter", "")
                or not _ENCODERS.keys() >= set(kinds)
            ):
                self._lookups.pop(name, None)
            else:
                self._lookups[name] = tuple(_ENCODERS[kind] for kind in kinds), value

    def apply(self, text: str) -> bool:
        """Carry a transaction out, all of it or nothing; False when it is libnftables' to do.

        Raises:
            Conflict: the kernel's table is not what the text was made for; load it whole.
            Unavailable: the kernel was busy; try again.
            Unsupported: the kernel or this user's rights refuse it for good.
        """
        bodies = []
        for line in text.splitlines():
            found = self._message(line)
            if found is None:
                return False
            bodies += found
        if bodies:
            self._send(bodies)
        return True

    def _message(self, line: str) -> list[tuple[int, bytes]] | None:
        """A command as messages; None when it is none that is written here."""
        elements = _ELEMENTS.fullmatch(line)
        if elements is not None:
            verb, name, inside = elements.groups()
            known = self._lookups.get(name)
            return (
                None if known is None else list(_elements(verb, name, inside.split(", "), *known))
            )
        counter = _COUNTERS.fullmatch(line)
        if counter is not None:
            verb, name, comment = counter.groups()
            return [(_NEWOBJ if verb == "add" else _DELOBJ, _object(name, comment or ""))]
        return None

    def _send(self, bodies: Sequence[tuple[int, bytes]]) -> None:
        batch = GENERIC.pack(0, 0, _SUBSYSTEM)
        if self._sequence > _SEQUENCE_MAX:
            self._sequence = 0
        self._sequence += 1
        begin = self._sequence
        parts = [numbered(_BATCH_BEGIN, 0, begin, batch)]
        for kind, body in bodies:
            self._sequence += 1
            flags = ACK | (_CREATE if kind in (_NEWSETELEM, _NEWOBJ) else 0)
            parts.append(numbered(kind, flags, self._sequence, body))
        parts.append(numbered(_BATCH_END, 0, self._sequence, batch))
        text = b"".join(parts)
        try:
            self._make_room(len(text))
            self._socket.send(text)
            self._hear(begin, len(bodies))
        except OSError as error:
            raise _translated(error) from error

    def _make_room(self, octets: int) -> None:
        """A batch is sent in one piece, which must not be larger than the socket's buffer."""
        if octets > self._room:
            self._room = 2 * octets
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, self._room)

    def _hear(self, begin: int, answers: int) -> None:
        """Every message is answered, in order; the first that was refused says why.

        What is wrong with the batch as a whole answers to its beginning, perhaps alone. Answers to
        earlier batches are here when hearing them was broken off.
        """
        refused: OSError | None = None
        while answers > 0:
            for each in messages(self._socket.recv(1 << 20)):
                if each.kind != ERROR or not begin <= each.sequence <= self._sequence:
                    continue
                if each.sequence == begin:
                    raise fault(each.body) or OSError(errno.EPROTO, os.strerror(errno.EPROTO))
                answers -= 1
                refused = refused or fault(each.body)
        if refused is not None:
            raise refused


def _elements(
    verb: str, name: str, words: Sequence[str], encoders: Sequence[_Encoder], value: str
) -> Iterator[tuple[int, bytes]]:
    adds = verb == "add"
    table = _named(_LIST_TABLE, "korat") + _named(_LIST_SET, name)
    for start in range(0, len(words), _ELEMENTS_PER_MESSAGE):
        some = words[start : start + _ELEMENTS_PER_MESSAGE]
        inside = b"".join(_element(word, encoders, value if adds else "") for word in some)
        body = GENERIC.pack(_NFPROTO_INET, 0, 0) + table + attribute(_LIST_ELEMENTS, inside)
        yield _NEWSETELEM if adds else _DELSETELEM, body


def _element(word: str, encoders: Sequence[_Encoder], value: str) -> bytes:
    key, _, end = word.partition(" : ")
    key, _, left = key.partition(" timeout ")
    parts = [encode(part) for encode, part in zip(encoders, key.split(" . "), strict=True)]
    if len(parts) > 1:
        parts = [part + bytes(-len(part) % 4) for part in parts]
    inside = attribute(_ELEM_KEY, attribute(_DATA_VALUE, b"".join(parts)))
    if value == "classid":
        inside += attribute(_ELEM_DATA, attribute(_DATA_VALUE, _classid(end)))
    elif value == "counter":
        inside += _named(_ELEM_OBJECT, end.strip('"'))
    if left:
        inside += attribute(_ELEM_TIMEOUT, (int(left.removesuffix("s")) * 1000).to_bytes(8))
    return attribute(_LIST_ELEM, inside)


def _object(name: str, comment: str) -> bytes:
    body = GENERIC.pack(_NFPROTO_INET, 0, 0) + _named(_OBJ_TABLE, "korat")
    body += _named(_OBJ_NAME, name) + attribute(_OBJ_TYPE, _COUNTER.to_bytes(4))
    body += attribute(_OBJ_DATA, b"")
    text = comment.encode() + b"\0"
    return body + (
        attribute(_OBJ_USERDATA, bytes((_COMMENT, len(text))) + text) if comment else b""
    )


def _named(kind: int, text: str) -> bytes:
    return attribute(kind, text.encode() + b"\0")


def _translated(error: OSError) -> KoratError:
    text = f"nftables refused a change of elements: {error.strerror}"
    if error.errno in (errno.ENOENT, errno.EEXIST, errno.EBUSY):
        return Conflict(text)
    if error.errno in (errno.EINTR, errno.EAGAIN, errno.ENOMEM, errno.ENOBUFS):
        return Unavailable(text)
    return Unsupported(text, "run korat as root on a kernel with nf_tables")

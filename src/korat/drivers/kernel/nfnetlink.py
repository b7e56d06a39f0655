"""Netlink's way with netfilter's subsystems, as far as korat speaks it without a library.

For: messages and attributes packed and taken apart, and a socket that asks and hears. Not for: what
they mean, which is the affair of who asks.
Source: linux/netlink.h, linux/netfilter/nfnetlink.h.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

NETLINK_NETFILTER = 12
REQUEST, ACK, DUMP = 1, 4, 0x300
#: The dump is of a state that changed while it was read.
DUMP_INTERRUPTED = 0x10
ERROR, DONE = 2, 3
#: The family, version and resource id before a netfilter message's attributes.
GENERIC = struct.Struct("!BBH")

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_NUMBER = struct.Struct("=i")
_TYPE_MASK = 0x3FFF
_READ_BYTES = 1 << 20
#: Not in Python's socket module; unlike SO_RCVBUF it is not held to net.core.rmem_max.
_SO_RCVBUFFORCE = 33


class Message(NamedTuple):
    """One message: its type, its flags, all that follows its header; whom it answers."""

    kind: int
    flags: int
    body: bytes
    sequence: int = 0


def messages(data: bytes) -> Iterator[Message]:
    """The messages of one datagram."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, flags, sequence, _ = _HEADER.unpack_from(data, at)
        if length < _HEADER.size:
            return
        yield Message(kind, flags, data[at + _HEADER.size : at + length], sequence)
        at += (length + 3) & ~3


def attributes(data: bytes, at: int = 0) -> Iterator[tuple[int, bytes]]:
    """The attributes that follow each other in a message, from a place on, or in another one."""
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < _ATTRIBUTE.size:
            return
        yield kind & _TYPE_MASK, data[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded."""
    padding = bytes(-len(value) % 4)
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + padding


def message(kind: int, flags: int, body: bytes) -> bytes:
    """One request."""
    return numbered(kind, flags, 0, body)


def numbered(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    """One of several requests, by its number; its body is padded."""
    padding = bytes(-len(body) % 4)
    return (
        _HEADER.pack(_HEADER.size + len(body), kind, REQUEST | flags, sequence, 0) + body + padding
    )


def open_socket(queue_bytes: int, protocol: int = NETLINK_NETFILTER) -> socket.socket:
    """A socket in the calling thread's network namespace with room for so much unread."""
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, queue_bytes)
    sock.bind((0, 0))
    return sock


def received(sock: socket.socket) -> bytes | None:
    """One datagram; None when the kernel had to drop some."""
    try:
        return sock.recv(_READ_BYTES)
    except OSError as error:
        if error.errno != errno.ENOBUFS:
            raise
        return None


def fault(body: bytes) -> OSError | None:
    """What an error message says; None when it is an acknowledgement."""
    number = -int(_NUMBER.unpack_from(body)[0])
    return OSError(number, os.strerror(number)) if number else None

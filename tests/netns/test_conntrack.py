"""The driver of connection tracking against the kernel: entries of every kind, read and deleted."""

import os
import socket
import struct
from ipaddress import ip_address

import pytest

from korat.core.net.address import Addr, Family
from korat.core.table.rejudge import Connection, Tuple
from korat.drivers.kernel import namespace
from korat.drivers.kernel.conntrack import Conntrack

pytestmark = pytest.mark.netns

A, B, C = (Addr.parse(a) for a in ("10.0.0.1", "10.0.0.2", "10.0.0.3"))
A6, B6 = Addr.parse("fd00::1"), Addr.parse("fd00::2")
NODE = Addr.parse("10.10.0.4")
NESTED = 0x8000

TCP, UDP, SCTP, GENERIC = 6, 17, 132, 99


def swapped(protocol, src, dst, a, b):
    return Connection(protocol, Tuple(src, dst, a, b), Tuple(dst, src, b, a))


PLAIN = (
    swapped(TCP, A, B, 40000, 80),
    swapped(UDP, A, B, 40000, 53),
    swapped(UDP, B, A, 53, 53),
    swapped(UDP, C, B, 40000, 53),
    swapped(TCP, A6, B6, 40000, 80),
    swapped(UDP, B6, A6, 40000, 53),
    swapped(GENERIC, A, B, 0, 0),
    swapped(GENERIC, A6, B6, 0, 0),
    Connection(1, Tuple(A, B, 8, 0), Tuple(B, A, 0, 0)),
    Connection(58, Tuple(A6, B6, 128, 0), Tuple(B6, A6, 129, 0)),
    # translated both ways: what it asked for, and whom the server sees
    Connection(TCP, Tuple(A, NODE, 40001, 30080), Tuple(B, NODE, 8080, 61000)),
)


@pytest.fixture
def space():
    name = f"kt-{os.getpid()}-ct"
    namespace.create(name)
    yield name
    namespace.remove(name)


@pytest.fixture
def conntrack(space):
    with namespace.run_in(space, Conntrack) as made:
        yield made


def test_every_kind_of_connection_is_read_as_it_is_and_deleted_alone(space, conntrack):
    def inside():
        insert(*PLAIN)
        both = [A, B, C, A6, B6, NODE]
        found = list(conntrack.entries(both))
        assert sorted(entry.connection for entry in found) == sorted(PLAIN)
        assert all(500 < entry.timeout_s <= 600 for entry in found)
        left = set(PLAIN)
        for entry in found:
            assert conntrack.delete([entry]) == 1
            left.discard(entry.connection)
            assert {e.connection for e in conntrack.entries(both)} == left
        assert conntrack.delete(found) == 0

    namespace.run_in(space, inside)


@pytest.mark.parametrize("more", [0, 50], ids=["searched by the kernel", "read out"])
def test_only_who_was_asked_for_is_found(space, conntrack, more):
    others = [Addr(Family.V4, (192 << 24) + number) for number in range(more)]

    def inside():
        insert(*PLAIN)
        for addr in (A, B, C, A6, B6, NODE):
            wanted = {c for c in PLAIN if addr in (c.original.src, c.reply.src)}
            found = [entry.connection for entry in conntrack.entries([addr, *others])]
            assert sorted(found) == sorted(wanted)
        assert list(conntrack.entries(others)) == []
        assert list(conntrack.entries([])) == []
        assert sorted(entry.connection for entry in conntrack.entries(None)) == sorted(PLAIN)

    namespace.run_in(space, inside)


def test_another_connection_with_the_same_tuple_is_left_alone(space, conntrack):
    def inside():
        insert(PLAIN[1])
        (entry,) = conntrack.entries([A])
        number = struct.pack("=HH", 8, 12)
        at = entry.data.index(number) + len(number)
        other = entry.data[:at] + bytes(4) + entry.data[at + 4 :]
        assert conntrack.delete([entry._replace(data=other)]) == 0
        assert conntrack.delete([entry]) == 1

    namespace.run_in(space, inside)


def test_connections_in_a_zone_are_found_and_deleted_alone(space, conntrack):
    def inside():
        insert(PLAIN[1])
        insert(PLAIN[1], PLAIN[8], zone=7)
        found = list(conntrack.entries([A]))
        assert sorted(e.connection for e in found) == sorted([PLAIN[1], PLAIN[1], PLAIN[8]])
        for entry in found[:2]:
            assert conntrack.delete([entry]) == 1
        assert len(list(conntrack.entries([A]))) == 1

    namespace.run_in(space, inside)


def test_very_many_are_deleted_in_one_call(space, conntrack):
    many = [swapped(UDP, A, B, port, 53) for port in range(1, 3001)]

    def inside():
        insert(*many)
        assert conntrack.forget([A]) == 3000
        assert list(conntrack.entries([A])) == []

    namespace.run_in(space, inside)


def test_a_reading_that_is_broken_off_does_not_disturb_the_next_one(space, conntrack):
    many = [swapped(UDP, A, B, port, 53) for port in range(1, 1001)]
    namespace.run_in(space, lambda: insert(*many))
    reading = conntrack.entries(None)
    first = next(reading).connection
    reading.close()
    assert first in many
    assert sorted(each.connection for each in conntrack.entries(None)) == many
    assert conntrack.forget([A]) == 1000


def insert(*connections, zone=0):
    """Make the kernel track these, by messages that are written here once more."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as sock:
        sock.bind((0, 0))
        for connection in connections:
            body = _nested(1, _tuple(connection, connection.original, reply=False))
            body += _nested(2, _tuple(connection, connection.reply, reply=True))
            body += _attribute(7, struct.pack("!I", 600))
            if connection.protocol == TCP:
                body += _nested(4, _nested(1, _attribute(1, bytes([3]))))
            if zone:
                body += _attribute(18, struct.pack("!H", zone))
            head = struct.pack("BBH", 2 if connection.family is Family.V4 else 10, 0, 0)
            # new, with request, acknowledgement, create and exclusive
            frame = struct.pack("=IHHII", 20 + len(body), 0x100, 0x605, 1, 0) + head + body
            sock.send(frame)
            (error,) = struct.unpack_from("=i", sock.recv(4096), 16)
            assert error == 0, (connection, os.strerror(-error))


def _tuple(connection, side, *, reply):
    kinds = (1, 2) if connection.family is Family.V4 else (3, 4)
    addresses = (ip_address(str(addr)).packed for addr in (side.src, side.dst))
    ip = b"".join(map(_attribute, kinds, addresses))
    proto = _attribute(1, bytes([connection.protocol]))
    if connection.protocol in (1, 58):
        id_, type_, code = (4, 5, 6) if connection.protocol == 1 else (7, 8, 9)
        proto += _attribute(id_, struct.pack("!H", 77))
        proto += _attribute(type_, bytes([side.a])) + _attribute(code, bytes([side.b]))
    elif connection.protocol != GENERIC:
        proto += _attribute(2, struct.pack("!H", side.a)) + _attribute(3, struct.pack("!H", side.b))
    return _nested(1, ip) + _nested(2, proto)


def _nested(kind, value):
    return _attribute(kind | NESTED, value)


def _attribute(kind, value):
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)

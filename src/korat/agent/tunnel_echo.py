"""A question and its answer through a tunnel: UDP and TCP, between the agents of two nodes.

Each agent answers at its tunnel's address, and only other ends of the tunnel. An answer over UDP
carries no checksum, so that it comes back whatever the answering side's checksums are worth: the
question alone is tried. TCP needs both sides.
Source: ip(7), udp(7); linux/udp.h (UDP_NO_CHECK6_TX, UDP_NO_CHECK6_RX).
"""

import contextlib
import os
import selectors
import socket
import threading
import time
from collections.abc import Collection

from korat.core.net.address import Addr, Family

#: Where agents answer each other; of Calico's and flannel's nobody uses it.
PORT = 4788

_UDP_TRIES, _UDP_WAIT_S = 3, 0.3
_TCP_WAIT_S = 1.5
#: More than one segment, so that what is sent in pieces is tried as well.
_TCP_BYTES, _UDP_BYTES = 4096, 512
_BACKLOG = 16
_AF = {Family.V4: socket.AF_INET, Family.V6: socket.AF_INET6}
_UDP_NO_CHECK6_TX, _UDP_NO_CHECK6_RX = 101, 102
_SO_NO_CHECK = 11


class TunnelEcho:
    """Answers at one end of a tunnel until it is closed."""

    def __init__(self, device: str, address: Addr, peers: Collection[Addr]) -> None:
        """Listens in the calling thread's network namespace.

        Raises:
            OSError: the address is not there.
        """
        self.place = (device, address)
        self.peers = frozenset(peers)
        self._udp = _bound(socket.SOCK_DGRAM, device, address, PORT)
        try:
            _without_checksums(self._udp, address.family)
            self._tcp = _bound(socket.SOCK_STREAM, device, address, PORT)
            self._tcp.listen(_BACKLOG)
        except OSError:
            self._udp.close()
            raise
        self._bell, self._ring = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="tunnel-echo", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Answer no more."""
        self._ring.close()
        self._thread.join()
        for each in (self._udp, self._tcp, self._bell):
            each.close()

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            for each in (self._udp, self._tcp, self._bell):
                selector.register(each, selectors.EVENT_READ)
            while True:
                ready = [key.fileobj for key, _ in selector.select()]
                if self._bell in ready:
                    return
                # Whoever asks may be gone by now, or ask nonsense.
                with contextlib.suppress(OSError):
                    if self._udp in ready:
                        self._answer_datagram()
                    if self._tcp in ready:
                        self._answer_connection()

    def _answer_datagram(self) -> None:
        data, sender = self._udp.recvfrom(_UDP_BYTES)
        if Addr.parse(sender[0]) in self.peers:
            self._udp.sendto(data, sender)

    def _answer_connection(self) -> None:
        connection, sender = self._tcp.accept()
        with connection:
            if Addr.parse(sender[0]) in self.peers:
                connection.settimeout(_TCP_WAIT_S)
                connection.sendall(_received(connection, _TCP_BYTES))


def asks_by_udp(device: str, own: Addr, peer: Addr) -> bool:
    """Whether a datagram gets to the peer."""
    with _bound(socket.SOCK_DGRAM, device, own, 0) as sock:
        if own.family is Family.V6:
            sock.setsockopt(socket.IPPROTO_UDP, _UDP_NO_CHECK6_RX, 1)
        sock.settimeout(_UDP_WAIT_S)
        question = os.urandom(_UDP_BYTES)
        for _ in range(_UDP_TRIES):
            begun_s = time.monotonic()
            with contextlib.suppress(OSError):
                sock.sendto(question, (str(peer), PORT))
                if sock.recv(_UDP_BYTES) == question:
                    return True
            # An error that comes at once is no reason to hurry.
            time.sleep(max(0.0, begun_s + _UDP_WAIT_S - time.monotonic()))
    return False


def asks_by_tcp(device: str, own: Addr, peer: Addr) -> bool:
    """Whether a connection to the peer carries data both ways."""
    with _bound(socket.SOCK_STREAM, device, own, 0) as sock:
        sock.settimeout(_TCP_WAIT_S)
        question = os.urandom(_TCP_BYTES)
        try:
            sock.connect((str(peer), PORT))
            sock.sendall(question)
            return _received(sock, _TCP_BYTES) == question
        except OSError:
            return False


def _bound(kind: int, device: str, address: Addr, port: int) -> socket.socket:
    sock = socket.socket(_AF[address.family], kind)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        sock.bind((str(address), port))
    except OSError:
        sock.close()
        raise
    return sock


def _without_checksums(sock: socket.socket, family: Family) -> None:
    if family is Family.V4:
        sock.setsockopt(socket.SOL_SOCKET, _SO_NO_CHECK, 1)
    else:
        sock.setsockopt(socket.IPPROTO_UDP, _UDP_NO_CHECK6_TX, 1)


def _received(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = sock.recv(size - len(data))
        if not more:
            break
        data += more
    return data

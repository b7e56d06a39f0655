"""What goes over a lab's fabric, and what gets through it: real frames and real connections."""

import contextlib
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

from korat.drivers.kernel.namespace import path_of, run_in
from lab_world import Lab, inside

IPV4, ARP, IPV6 = 0x0800, 0x0806, 0x86DD
_UDP, _TCP = 17, 6
#: What is nobody's traffic: how a guest asks the fabric where everybody is, and how its kernel
#: looks for IPv6 routers on its link now and then, of its own accord.
CHATTER = frozenset({"ARP", "IPv6 on the link"})


def until(condition: Callable[[], object], seconds: float, what: str = "") -> None:
    """Wait until it comes true; fails when it takes longer."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


@contextlib.contextmanager
def captured(made: Lab) -> Iterator[Counter[str]]:
    """What all nodes send into the fabric meanwhile, by what it is."""
    seen: Counter[str] = Counter()
    done = threading.Event()
    nodes = made.status()["nodes"]
    addresses = {node["address"] for node in nodes}
    nics = [node["nic"] for node in nodes]
    sockets = run_in(made.namespace("fabric"), lambda: [_listener(nic) for nic in nics])
    threads = [threading.Thread(target=_collect, args=(s, seen, done, addresses)) for s in sockets]
    for thread in threads:
        thread.start()
    try:
        yield seen
        time.sleep(0.2)
    finally:
        done.set()
        for thread, sock in zip(threads, sockets, strict=True):
            thread.join()
            sock.close()


def _listener(nic: str) -> socket.socket:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    sock.bind((nic, 0))
    sock.settimeout(0.05)
    return sock


def _collect(
    sock: socket.socket, seen: Counter[str], done: threading.Event, nodes: set[str]
) -> None:
    while not done.is_set():
        with contextlib.suppress(TimeoutError):
            frame, (_, _, kind, _, _) = sock.recvfrom(256)
            if kind != socket.PACKET_OUTGOING:
                seen[what(frame, nodes)] += 1


def what(frame: bytes, nodes: set[str]) -> str:
    """A frame in words; ``nodes`` are the nodes' own addresses."""
    kind = int.from_bytes(frame[12:14], "big")
    if kind == IPV4:
        return _packet(frame, nodes)
    on_link = frame[22:24] == b"\xfe\x80" or not any(frame[22:38])
    if kind == IPV6 and on_link:
        return "IPv6 on the link"
    return "ARP" if kind == ARP else f"{kind:#06x}"


def _packet(frame: bytes, nodes: set[str]) -> str:
    at = 14 + (frame[14] & 15) * 4
    ports = [int.from_bytes(frame[i : i + 2], "big") for i in (at, at + 2)]
    ends = [".".join(map(str, frame[i : i + 4])) for i in (26, 30)]
    if frame[23] == _UDP and nodes.issuperset(ends) and ports[1] in (4789, 8472):
        return f"VXLAN between VMs at {ports[1]}"
    if frame[23] == _TCP and 2379 in ports:
        return "etcd"
    if not nodes.issuperset(ends):
        return "pods' own addresses"
    return f"protocol {frame[23]} port {ports[1]} from {ends[0]} to {ends[1]}"


def fragments(made: Lab) -> int:
    """How many fragments the fabric has had to make."""
    names, values = [
        line.split()
        for line in inside(made.namespace("fabric"), "cat", "/proc/net/snmp").splitlines()
        if line.startswith("Ip:")
    ]
    return int(values[names.index("FragCreates")])


def transfer(made: Lab, sender: str, receiver: str, size: int) -> int:
    """Send so many bytes each way over one TCP connection, with DF set; returns what came back."""
    there, here = made.pod(receiver), made.pod(sender)

    def open_in(pod: dict[str, str]) -> socket.socket:
        def make() -> socket.socket:
            sock = socket.socket()
            sock.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER, IP_PMTUDISC_DO
            sock.settimeout(20)
            return sock

        return run_in(str(path_of(pod["netns"])), make)

    with open_in(there) as server, open_in(here) as client:
        server.bind((there["address"], 0))
        server.listen(1)

        def echo() -> None:
            connection, _ = server.accept()
            connection.settimeout(20)
            with connection:
                while data := connection.recv(1 << 16):
                    connection.sendall(data)

        thread = threading.Thread(target=echo)
        thread.start()
        client.connect(server.getsockname())
        feeder = threading.Thread(target=_feed, args=(client, size))
        feeder.start()
        got = 0
        while data := client.recv(1 << 16):
            got += len(data)
        feeder.join()
        thread.join()
    return got


def _feed(sock: socket.socket, size: int) -> None:
    block = bytes(1 << 16)
    for _ in range(size // len(block)):
        sock.sendall(block)
    sock.shutdown(socket.SHUT_WR)


def on_other_nodes(made: Lab) -> tuple[str, str]:
    """Two pods on two nodes."""
    found = made.status()["pods"]
    first = found[0]
    return first["name"], next(p["name"] for p in found if p["node"] != first["node"])


def agent_of(made: Lab, vm: str) -> int:
    """The process number of a node's agent."""
    return next(int(p["pid"]) for p in made.status()["processes"] if p["role"] == vm)

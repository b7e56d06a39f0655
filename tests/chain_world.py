"""A node where another CNI plugin makes the network: its namespaces, the real agent, a runtime.

far (192.0.2.1) ──── node (10.10.0.4) ════ pods, by the plugins of a list
wireserver           korat node run

``far`` plays Azure's fabric and platform: it routes the pods' addresses to the node and answers as
the wireserver does.
"""

import contextlib
import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from pyroute2 import IPRoute

from cni_world import eventually, pod
from korat.core.model.default import apply as with_defaults
from korat.core.model.pod import Pod
from korat.core.model.resource import Resource
from korat.drivers.kernel import namespace
from korat.drivers.store.client import Client, initialize
from korat.drivers.store.sqlite import SqliteStore
from korat.lab.cni_runtime import Attachment, CniRuntime

NODE_ADDRESS, FAR, SUBNET = "10.10.0.4", "192.0.2.1", "10.10.0.0/16"
WIRESERVER = "168.63.129.16"
NIC_MAC = "00:0d:3a:00:00:04"
WAIT_S = 5.0
PORT = 8080
_NUMBERS = itertools.count()


class Node:
    """The node, its agent, and pods that answer on a port."""

    def __init__(self, stack: ExitStack, folder: Path, environ: dict[str, str]) -> None:
        self.stack, self.folder, self.environ = stack, folder, environ
        self.prefix = f"kt-{os.getpid()}-chain{next(_NUMBERS)}"
        self.pods: list[RunningPod] = []
        self.net_dir, self.bin_dir = folder / "net.d", folder / "bin"
        self.socket = folder / "run" / "agent.sock"
        self.queried: list[str] = []
        self.agent: subprocess.Popen[bytes] | None = None
        stack.callback(self.stop_agent)
        for place in ("node", "far"):
            self.space(place)
        self._wire()
        self.store = SqliteStore(folder / "store.db")
        stack.callback(self.store.close)
        self.client = Client(self.store)
        initialize(self.client, "")
        self.runtime = CniRuntime(self.net_dir, self.bin_dir, self.name("node"))

    def name(self, place: str) -> str:
        return f"{self.prefix}-{place}"

    def space(self, place: str) -> str:
        name = self.name(place)
        namespace.create(name)
        self.stack.callback(namespace.remove, name)
        return name

    def inside(self, place, function):
        return namespace.run_in(self.name(place), function)

    def _wire(self) -> None:
        there = {"ifname": "eth0", "net_ns_fd": self.name("node"), "address": NIC_MAC}

        def far() -> None:
            with IPRoute() as ip:
                ip.link("add", ifname="vm", kind="veth", peer=there)
                ip.link("set", index=1, state="up")
                index = ip.link_lookup(ifname="vm")[0]
                ip.link("set", index=index, state="up")
                for address in (FAR, WIRESERVER):
                    ip.addr("add", index=1, address=address, prefixlen=32)
                ip.addr("add", index=index, address="10.10.0.1", prefixlen=24)
                ip.route("add", dst=SUBNET, gateway=NODE_ADDRESS, oif=index)

        def node() -> None:
            with IPRoute() as ip:
                ip.link("set", index=1, state="up")
                index = ip.link_lookup(ifname="eth0")[0]
                ip.link("set", index=index, state="up")
                ip.addr("add", index=index, address=NODE_ADDRESS, prefixlen=24)
                ip.route("add", dst="0.0.0.0/0", gateway="10.10.0.1", oif=index)

        self.inside("far", far)
        self.inside("node", node)

    def start_agent(self) -> None:
        """Start ``korat node run`` and wait until it takes workloads."""
        ready = self.folder / "ready"
        ready.unlink(missing_ok=True)
        environ = {
            **{k: v for k, v in os.environ.items() if k in ("PATH", "PYTHONPATH")},
            "NODENAME": "vm1",
            "IP": f"{NODE_ADDRESS}/24",
            "KORAT_SQLITE_PATH": str(self.folder / "store.db"),
            "KORAT_RUN_DIR": str(self.socket.parent),
            "KORAT_READY_FILE": str(ready),
            "KORAT_AZURE_STATE_DIR": str(self.folder / "calico-azure"),
            **self.environ,
        }
        with (self.folder / "agent.log").open("ab") as log:
            self.agent = self.inside(
                "node",
                lambda: subprocess.Popen(
                    [sys.executable, "-m", "korat", "node", "run"],
                    env=environ,
                    stdout=log,
                    stderr=log,
                ),
            )
        assert eventually(ready.exists, 30), (self.folder / "agent.log").read_text()

    def stop_agent(self) -> None:
        if self.agent is not None:
            self.agent.kill()
            self.agent.wait()

    def write(self, *resources: Resource) -> None:
        for each in resources:
            self.client.create(with_defaults(each))

    def configure(self, name: str, *plugins: dict, version: str = "0.3.0") -> None:
        """A list of another's plugins; Debian's are where Debian has them."""
        self.net_dir.mkdir(exist_ok=True)
        self.bin_dir.mkdir(exist_ok=True)
        listed = {"cniVersion": version, "name": name, "plugins": list(plugins)}
        (self.net_dir / "10-other.conflist").write_text(json.dumps(listed))
        for program in Path("/usr/lib/cni").iterdir():
            (self.bin_dir / program.name).symlink_to(program)

    def pod(self, name: str, **labels: str) -> "RunningPod":
        """Make a pod in the store, and a namespace for it."""
        made: Pod = pod(name, **labels)
        self.client.create(made)
        space = self.space(name)
        args = (
            ("IgnoreUnknown", "1"),
            ("K8S_POD_NAMESPACE", "shop"),
            ("K8S_POD_NAME", name),
        )
        path = str(namespace.path_of(space))
        attachment = Attachment(f"{name}-{os.getpid()}", path, "eth0", args)
        self.pods.append(RunningPod(self, name, attachment))
        return self.pods[-1]

    @contextlib.contextmanager
    def lent(self) -> Iterator["Node"]:
        """For one test: what it makes goes at its end, and the node is as it was before."""
        lists = {path: path.read_bytes() for path in self.net_dir.iterdir()}
        kept = {record.key for record in self.store.list().records}
        whole, self.stack = self.stack, ExitStack()
        try:
            yield self
        finally:
            for path, text in lists.items():
                path.write_bytes(text)
            if self.agent is None or self.agent.poll() is not None:
                self.start_agent()
            for each in self.pods:
                each.delete()
            self.pods.clear()
            for record in self.store.list().records:
                if record.key not in kept:
                    self.store.delete(record.key)
            self.stack.close()
            self.stack = whole
            shutil.rmtree(self.folder / "azure", ignore_errors=True)
            self.queried.clear()

    def endpoints(self):
        found = self.client.read(["WorkloadEndpoint"]).of("WorkloadEndpoint")
        return {each.spec.pod: each for each in found}

    def routes(self) -> dict[str, tuple[str, int]]:
        """Host routes of the node: destination to interface and protocol."""

        def read():
            with IPRoute() as ip:
                names = {link["index"]: link.get_attr("IFLA_IFNAME") for link in ip.get_links()}
                return {
                    r.get_attr("RTA_DST"): (names[r.get_attr("RTA_OIF")], r["proto"])
                    for r in ip.get_routes(family=socket.AF_INET, table=254)
                    if r["dst_len"] == 32
                }

        return self.inside("node", read)

    def links(self) -> set[str]:
        def read():
            with IPRoute() as ip:
                return {link.get_attr("IFLA_IFNAME") for link in ip.get_links()}

        return self.inside("node", read) - {"lo", "eth0"}

    def wireserver(self, *addresses: str) -> None:
        """Answer as the wireserver does: the node's own address, and these."""
        queried = self.queried
        rows = "".join(f'<IPAddress Address="{each}" IsPrimary="false"/>' for each in addresses)
        text = (
            f'<Interfaces><Interface MacAddress="{NIC_MAC.replace(":", "").upper()}"'
            f' IsPrimary="true"><IPSubnet Prefix="{SUBNET}">'
            f'<IPAddress Address="{NODE_ADDRESS}" IsPrimary="true"/>{rows}'
            "</IPSubnet></Interface></Interfaces>"
        ).encode()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                queried.append(f"{self.client_address[0]} {self.path}")
                self.send_response(200)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_):
                pass

        server = self.inside("far", lambda: ThreadingHTTPServer((WIRESERVER, 80), Handler))
        thread = threading.Thread(target=server.serve_forever)
        thread.start()

        def stop():
            server.shutdown()
            server.server_close()
            thread.join()

        self.stack.callback(stop)


class RunningPod:
    """One pod: what the runtime does with it, and its packets."""

    def __init__(self, node: Node, name: str, attachment: Attachment) -> None:
        self.node, self.name, self.attachment = node, name, attachment
        self.result: dict = {}

    @property
    def address(self) -> str:
        return self.result["ips"][0]["address"].partition("/")[0]

    def add(self) -> dict:
        self.result = self.node.runtime.add(self.attachment)
        return self.result

    def delete(self) -> None:
        self.node.runtime.delete(self.attachment, self.result)

    def answers(self) -> bool:
        """Whether a datagram from afar comes back from the pod: one packet each way, no more."""
        kind = socket.SOCK_DGRAM
        with (
            namespace.socket_in(self.node.name(self.name), kind=kind) as server,
            namespace.socket_in(self.node.name("far"), kind=kind) as client,
        ):
            server.bind((self.address, PORT))
            client.bind((FAR, 0))
            for each in (server, client):
                each.settimeout(0.5)
            client.sendto(b"first", (self.address, PORT))
            try:
                heard, sender = server.recvfrom(16)
                server.sendto(heard, sender)
                return client.recv(16) == b"first"
            except TimeoutError:
                return False

    def reaches_far(self) -> bool:
        """Whether the first datagram from the pod arrives afar."""
        kind = socket.SOCK_DGRAM
        with (
            namespace.socket_in(self.node.name("far"), kind=kind) as server,
            namespace.socket_in(self.node.name(self.name), kind=kind) as client,
        ):
            server.bind((FAR, PORT))
            server.settimeout(0.5)
            client.sendto(b"out", (FAR, PORT))
            try:
                return server.recv(16) == b"out"
            except TimeoutError:
                return False


@contextlib.contextmanager
def chained_node(folder: Path, **environ: str) -> Iterator[Node]:
    """A node without an agent yet; all of it goes at the end."""
    with ExitStack() as stack:
        yield Node(stack, folder, environ)

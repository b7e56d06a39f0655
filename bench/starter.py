"""Pods that are started in a lab, from the write into its store to their first answer.

A new pod sends as soon as the lab's kubelet says that it runs, which is when its container would:
CNI ADD has returned. It asks a pod of another node for a TCP connection, again and again, since
what policy drops is not answered. Also CNI ADD alone, the plugins run by hand as a runtime runs
them, for a pod whose node is none of the lab's, so that nobody else starts it.
"""

import os
import select
import socket
import time
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from bench.lab import ASKS, NAMESPACE, NEAR, PORT, Lab
from bench.process import BenchError
from korat.core.model import codec
from korat.core.model.key import Key
from korat.core.model.pod import Container, ContainerPort, Pod, PodSpec
from korat.core.model.resource import Metadata
from korat.core.net.address import Addr
from korat.drivers.kernel import namespace
from korat.drivers.store.client import Client
from korat.drivers.store.sqlite import SqliteStore
from korat.lab.cni_runtime import Attachment, CniRuntime
from korat.lab.node_setup import ON_DISK
from korat.lab.roster import behind, netns_of
from korat.lab.state import living_state

_LIMIT_S = 30.0
_AGAIN_S = 0.001
_LOOK_S = 0.005
_ASKING_MOST = 200  # select() takes descriptors below 1024
_BY_HAND = "by-hand"


@dataclass(slots=True)
class Starter:
    """Starts pods in one lab; make it after the last fork, since it holds the store open."""

    lab: Lab
    client: Client = field(init=False)
    _store: SqliteStore = field(init=False)
    _count: int = 0

    def __post_init__(self) -> None:
        self._store = SqliteStore(self.lab.paths.store)
        self.client = Client(self._store)
        self.client.create(self._pod(_BY_HAND, "", "elsewhere"))

    def close(self) -> None:
        """Let go of the store."""
        self._store.close()

    def start(self, asks: str, node: str = NEAR) -> float:
        """Start a pod that asks this one; seconds from the write to the first answer.

        Raises:
            BenchError: it does not run, or gets no answer.
        """
        self._count += 1
        pod = self._pod(f"{asks}-{self._count}", asks, node)
        target = self.lab.addresses[asks]
        revision = self.client.read([pod.key]).revision
        begun = time.monotonic()
        self.client.create(pod)
        self._await_running(pod.key, revision)
        room = netns_of(self.lab.paths, pod)
        answered = namespace.run_in(room, lambda: first_answer(target, PORT))
        self._store.delete(pod.key)
        self._await(lambda: not namespace.exists(room), f"pod {pod.title} does not end")
        self.rest()
        return answered - begun

    def add_by_hand(self) -> float:
        """Seconds that CNI ADD takes, all plugins of the first node's configuration."""
        disk = self.lab.paths.node(NEAR) / ON_DISK
        runtime = CniRuntime(disk / "net.d", disk / "bin", self.lab.paths.namespace(NEAR))
        room = f"kt-{os.getpid()}-b-{self.lab.paths.name}"
        args = (("K8S_POD_NAMESPACE", NAMESPACE), ("K8S_POD_NAME", _BY_HAND))
        namespace.create(room)
        try:
            attachment = Attachment(
                uuid.uuid4().hex,
                str(namespace.path_of(room)),
                "eth0",
                (("IgnoreUnknown", "1"), *args),
            )
            begun = time.monotonic()
            result = runtime.add(attachment)
            taken = time.monotonic() - begun
            runtime.delete(attachment, result)
        finally:
            namespace.remove(room)
        self.rest()
        return taken

    def rest(self) -> None:
        """Wait until every node enforces what is stored now."""
        state = living_state(self.lab.paths)
        revision = self._store.list(["ClusterInformation"]).revision
        self._await(lambda: not behind(state, self.lab.paths, revision), "a node is behind")

    def _await_running(self, key: Key, after: int) -> None:
        """Wait until the kubelet says so."""
        deadline = time.monotonic() + _LIMIT_S
        with self._store.watch(after) as watch:
            while (left := deadline - time.monotonic()) > 0:
                for event in watch.poll(left):
                    if event.key == key and event.record is not None:
                        pod = codec.load(key, event.record.value)
                        if isinstance(pod, Pod) and pod.status.phase == "Running":
                            return
        raise BenchError(f"{self.lab.option.name}: {key} does not run after {_LIMIT_S:.0f} s")

    def _await(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _LIMIT_S
        while not condition():
            if time.monotonic() > deadline:
                raise BenchError(f"{self.lab.option.name}: {what} after {_LIMIT_S:.0f} s")
            time.sleep(_LOOK_S)

    def _pod(self, name: str, asks: str, node: str) -> Pod:
        labels = {ASKS: asks} if asks else {}
        port = ContainerPort(name="http", container_port=PORT)
        return Pod(
            metadata=Metadata(name=name, namespace=NAMESPACE, labels=labels),
            spec=PodSpec(node_name=node, containers=(Container(name="c", ports=(port,)),)),
        )


def first_answer(target: Addr, port: int, limit_s: float = _LIMIT_S) -> float:
    """When somebody answered, on the monotonic clock; asks once a millisecond until then.

    Raises:
        BenchError: nobody does.
    """
    deadline = time.monotonic() + limit_s
    asking: deque[socket.socket] = deque()
    try:
        while time.monotonic() < deadline:
            asking.append(_ask(target, port))
            _, ready, _ = select.select([], asking, [], _AGAIN_S)
            now = time.monotonic()
            if any(_is_answered(each) for each in ready):
                return now
            if len(asking) > _ASKING_MOST:
                asking.popleft().close()
    finally:
        for each in asking:
            each.close()
    raise BenchError(f"{target} does not answer at port {port} for {limit_s:.0f} s")


def _ask(target: Addr, port: int) -> socket.socket:
    asking = socket.socket()
    asking.setblocking(False)
    asking.connect_ex((str(target), port))
    return asking


def _is_answered(asking: socket.socket) -> bool:
    """Whether it has a peer: one that was refused or has no way is writable too."""
    try:
        asking.getpeername()
    except OSError:
        return False
    return True

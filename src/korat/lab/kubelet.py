"""The lab's kubelet and scheduler: makes the pods of the store run on the lab's nodes.

It keeps the EndpointSlices of Services too, which follow from the pods.

The store says which pods there should be; this makes it so, again and again: it gives pods without
a node one, starts what is missing (namespace, CNI ADD, answering ports, status) and stops what is
no longer wanted. It judges by the present state only, so it does not matter how a state came about.
Nodes join and are lost while it runs: a lost node's pods wait for it until it joins again.
"""

import contextlib
import dataclasses
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import msgspec
import structlog

from korat.core.errors import Conflict, Invalid, KoratError, NotFound, Problem, Unavailable
from korat.core.model import codec
from korat.core.model.endpoint import WorkloadEndpoint
from korat.core.model.key import Key
from korat.core.model.kubernetes.workload import endpoint_of
from korat.core.model.pod import Pod, PodIp, PodStatus
from korat.drivers.report import NodeReport, publish
from korat.lab import sandbox
from korat.lab.responder import PodPort, Responder, sctp_works
from korat.lab.sandbox import LabNode, NoNetworkError, Sandbox
from korat.lab.scheduler import place
from korat.lab.slice_keeper import KINDS as _SLICE_KINDS
from korat.lab.slice_keeper import SliceKeeper
from korat.lab.state import LabPaths
from korat.ports import Event, Record, Store, Watch

T = TypeVar("T")

log = structlog.get_logger(__name__)

_KINDS = ("Pod", *_SLICE_KINDS)
_POLL_S = 1.0
_START_AT_ONCE = 8
_RETRY_S = 1.0
_MOMENT_S = 0.03
_PATIENCE_S = 0.5
_STATUS_TRIES = 5


class Kubelet:
    """Runs in its own thread from ``start`` to ``stop``."""

    def __init__(self, store: Store, paths: LabPaths, responder: Responder) -> None:
        self._store = store
        self._paths = paths
        self._responder = responder
        self._slices = SliceKeeper(store)
        #: One pass over the pods, or the loss of a node, at a time.
        self._pass = threading.Lock()
        self._nodes: Mapping[str, LabNode] = {}
        self._away: set[str] = set()
        self._running: dict[Key, Sandbox] = {}
        self._lost: dict[str, Sandbox] = {}  # by container
        self._said: dict[Key, str] = {}
        self._stopping = threading.Event()
        self._watch: Watch | None = None
        self._workers = ThreadPoolExecutor(_START_AT_ONCE, thread_name_prefix="kubelet")
        self._thread = threading.Thread(target=self._run, name="kubelet", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Stop every pod, then end."""
        self._stopping.set()
        self._look_again()
        self._thread.join()
        self._each(self._stop_pod, list(self._running))
        self._workers.shutdown()

    def join(self, node: LabNode) -> None:
        """A node is ready: its own pods may run now, and others may be given to it."""
        self._nodes = {**self._nodes, node.name: node}
        self._away.discard(node.name)
        for record in self._store.list(["Pod"]).records:
            pod = _load(record)
            if pod.spec.node_name == node.name and pod.status.message:
                self._said.pop(pod.key, None)
                self._set_status(pod.key, PodStatus(phase="Pending"))
        self._look_again()

    def lose(self, name: str) -> None:
        """A node's power is cut: its pods are gone at once, and wait for it to join again."""
        with self._pass:
            self._away.add(name)
            self._nodes = {key: node for key, node in self._nodes.items() if key != name}
            lost = [key for key, running in self._running.items() if running.node.name == name]
            for key in lost:
                running = self._running.pop(key)
                self._responder.close(_label(running.pod))
                running.lose()
                self._lose(running)
                self._set_status(key, PodStatus(phase="Pending"))

    def forget(self, name: str) -> None:
        """A node that was lost will not be back."""
        with self._pass:
            self._away.discard(name)
            self._lost = {key: s for key, s in self._lost.items() if s.node.name != name}

    def _look_again(self) -> None:
        """Wake the thread, which then begins with a complete read."""
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._follow()
            except NotFound:
                continue  # the watch was too old; list again
            except KoratError as error:
                log.warning("the datastore is away", error=str(error))
                self._stopping.wait(_RETRY_S)

    def _follow(self) -> None:
        snapshot = self._store.list(_KINDS)
        records = {record.key: record for record in snapshot.records}
        seen = snapshot.revision
        with self._store.watch(snapshot.revision) as watch:
            self._watch = watch
            dirty = True
            while self._watch is watch and not self._stopping.is_set():
                if dirty:
                    with self._pass:
                        dirty = not self._reconcile(records)
                self._report(seen)
                for event in self._heard(watch, _RETRY_S if dirty else _POLL_S):
                    seen = event.revision
                    if event.key.kind not in _KINDS:
                        continue
                    dirty = True
                    if event.record is None:
                        records.pop(event.key, None)
                    else:
                        records[event.key] = event.record

    def _heard(self, watch: Watch, timeout_s: float) -> list[Event]:
        """What happened: once something does, all that follows within a moment.

        A manifest is written object by object; who sees all of it places the pods the same way
        every time.
        """
        heard = list(watch.poll(timeout_s))
        deadline = time.monotonic() + _PATIENCE_S
        while heard and time.monotonic() < deadline:
            more = watch.poll(_MOMENT_S)
            if not more:
                break
            heard += more
        return heard

    def _report(self, revision: int) -> None:
        """Say how far the pods have been looked at: a probe waits for it."""
        self._paths.kubelet.mkdir(parents=True, exist_ok=True)
        publish(self._paths.kubelet, NodeReport("kubelet", os.getpid(), revision))

    def _reconcile(self, records: Mapping[Key, Record]) -> bool:
        """One pass; True when nothing is left to be tried again."""
        pods = {key: _load(record) for key, record in records.items() if key.kind == "Pod"}
        pods |= self._schedule(pods, records)
        gone = [
            key
            for key, running in self._running.items()
            if key not in pods or _identity(pods[key]) != _identity(running.pod)
        ]
        stopped = self._each(self._stop_pod, gone)
        back = [key for key, lost in self._lost.items() if lost.node.name in self._nodes]
        cleared = self._each(self._clear, back)
        missing = [pods[key] for key in sorted(pods) if self._may_start(pods[key])]
        started = self._each(self._start_pod, missing)
        relabelled = [
            pods[key]
            for key, running in self._running.items()
            if key in pods and pods[key].metadata.labels != running.pod.metadata.labels
        ]
        done = self._each(self._relabel, relabelled)
        return all((stopped, cleared, started, done, self._slices.keep(records.values())))

    def _may_start(self, pod: Pod) -> bool:
        """Whether it does not run, and neither waits for its node nor has remains there."""
        where = pod.spec.node_name
        remains = ((lost.pod.key, lost.node.name) for lost in self._lost.values())
        waits = not where or where in self._away or (pod.key, where) in remains
        return pod.key not in self._running and not waits

    def _each(self, work: Callable[[T], None], items: Iterable[T]) -> bool:
        """Do it for all of them at the same time; True when all went well."""
        return all(list(self._workers.map(lambda item: self._try(work, item), items)))

    def _schedule(self, pods: Mapping[Key, Pod], records: Mapping[Key, Record]) -> dict[Key, Pod]:
        """Give pods without a node one, and write that down; returns those that have one now."""
        placed = {}
        for key, pod in place(pods, self._nodes).items():
            try:
                self._store.update(key, codec.dump(pod), records[key].revision)
            except (Conflict, NotFound):
                continue  # changed meanwhile: the next pass sees it
            placed[key] = pod
        return placed

    def _try(self, work: Callable[[T], None], item: T) -> bool:
        """Do one thing; say once what went wrong, so that a retry does not fill the log."""
        try:
            work(item)
        except (KoratError, OSError) as error:
            key = item.key if isinstance(item, Pod) else None
            if key and self._said.get(key) != str(error):
                self._said[key] = str(error)
                log.warning("pod is not running", pod=str(key), error=str(error))
                self._set_status(key, PodStatus(phase="Pending", message=str(error)))
            return False
        return True

    def _start_pod(self, pod: Pod) -> None:
        node = self._nodes.get(pod.spec.node_name)
        if node is None:
            names = ", ".join(sorted(self._nodes))
            raise NotFound(f"there is no node {pod.spec.node_name}", f"the lab's nodes are {names}")
        try:
            running = sandbox.start(self._paths, pod, node)
        except NoNetworkError as error:
            self._lose(error.sandbox)
            raise
        try:
            self._responder.open(_label(pod), running.netns, _ports(pod))
        except OSError as error:
            running.stop()
            raise Unavailable(f"{_label(pod)} cannot listen: {error.strerror}") from error
        self._running[pod.key] = running
        self._said.pop(pod.key, None)
        addresses = running.addresses
        status = PodStatus(
            phase="Running",
            host_ip=node.address,
            pod_ip=addresses[0],
            pod_ips=tuple(PodIp(ip) for ip in addresses),
        )
        self._set_status(pod.key, status)

    def _stop_pod(self, key: Key) -> None:
        running = self._running[key]
        self._responder.close(_label(running.pod))
        running.stop()
        del self._running[key]

    def _lose(self, gone: Sandbox) -> None:
        """CNI is owed a DEL for it."""
        if gone.attachment is not None:
            self._lost[gone.attachment.container_id] = gone

    def _clear(self, container_id: str) -> None:
        self._lost[container_id].clear()
        del self._lost[container_id]

    def _relabel(self, pod: Pod) -> None:
        """New labels on a running pod: its endpoint gets them, as from kube-controllers."""
        running = self._running[pod.key]
        if running.attachment is not None:
            self._rewrite_endpoint(pod, running.attachment.container_id)
        self._running[pod.key] = dataclasses.replace(running, pod=pod)

    def _rewrite_endpoint(self, pod: Pod, container_id: str) -> None:
        for record in self._store.list(["WorkloadEndpoint"]).records:
            old = codec.load(record.key, record.value)
            if isinstance(old, WorkloadEndpoint) and old.spec.container_id == container_id:
                spec = old.spec
                new = endpoint_of(
                    pod,
                    spec.node,
                    container_id,
                    spec.ip_networks,
                    spec.interface_name,
                    spec.mac,
                )
                labels = msgspec.structs.replace(old.metadata, labels=new.metadata.labels)
                changed = msgspec.structs.replace(new, metadata=labels)
                self._store.update(record.key, codec.dump(changed), record.revision)

    def _set_status(self, key: Key, status: PodStatus) -> None:
        """Report on a pod; one that is gone, or changes faster than we look, needs no report."""
        for _ in range(_STATUS_TRIES):
            found = [r for r in self._store.list(["Pod"]).records if r.key == key]
            if not found:
                return
            pod = msgspec.structs.replace(_load(found[0]), status=status)
            with contextlib.suppress(Conflict, NotFound):
                self._store.update(key, codec.dump(pod), found[0].revision)
                return


def _load(record: Record) -> Pod:
    pod = codec.load(record.key, record.value)
    if not isinstance(pod, Pod):
        raise Invalid([Problem(str(record.key), "kind", pod.kind, "must be Pod")])
    return pod


def _identity(pod: Pod) -> tuple[object, ...]:
    """What cannot change while a pod runs: another value means another pod."""
    return pod.metadata.uid, pod.account, pod.spec


def _label(pod: Pod) -> str:
    return f"{pod.metadata.namespace}/{pod.metadata.name}"


def _ports(pod: Pod) -> list[PodPort]:
    """What to answer on; SCTP only where the kernel has it, which ``lab up`` tells the user."""
    return [
        PodPort(port.protocol, port.container_port)
        for container in pod.spec.containers
        for port in container.ports
        if port.protocol != "SCTP" or sctp_works()
    ]

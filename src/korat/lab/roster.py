"""The pods of a running lab: where each one is, what it answers on, and what to probe.

Before a probe the nodes are waited for until they enforce what is in the store, so that a probe
right after ``korat apply`` shows the new policy and not a race.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from korat.core.errors import Invalid, NotFound, Problem, Unavailable
from korat.core.model.decode import nearest
from korat.core.model.key import DEFAULT_NAMESPACE
from korat.core.model.kubernetes.workload import interface_name
from korat.core.model.pod import Pod
from korat.core.net.address import Addr
from korat.drivers.kernel.namespace import path_of
from korat.drivers.report import latest
from korat.drivers.store.client import Client
from korat.lab.probe import Target
from korat.lab.responder import PodPort, sctp_works
from korat.lab.state import LabPaths, LabState
from korat.ports import Store

PROTOCOLS = ("TCP", "UDP", "SCTP")

_SETTLE_S = 10.0
_LOOK_S = 0.01
_PORTS = range(1, 65536)


@dataclass(frozen=True, slots=True)
class LabPod:
    """One pod: ``name`` is ``namespace/name``; ``address`` is empty until it runs."""

    name: str
    node: str
    netns: str
    address: str
    phase: str
    message: str
    ports: tuple[tuple[str, PodPort], ...]  # (port name, port)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a user asked to be probed; an empty field asks for everything."""

    sender: str = ""
    receiver: str = ""
    protocol: str = ""
    port: str = ""


def pods_of(state: LabState, paths: LabPaths, client: Client) -> list[LabPod]:
    """The pods of the lab, by name."""
    found = client.read(["Pod"]).of("Pod")
    return [_lab_pod(pod, state, paths) for pod in found if isinstance(pod, Pod)]


def netns_of(paths: LabPaths, pod: Pod) -> str:
    """The namespace of a pod that has its own."""
    meta = pod.metadata
    return paths.namespace(f"pod-{interface_name(meta.namespace, meta.name, '')}")


def _lab_pod(pod: Pod, state: LabState, paths: LabPaths) -> LabPod:
    netns = netns_of(paths, pod)
    if pod.spec.host_network:
        netns = next((vm.netns for vm in state.vms if vm.name == pod.spec.node_name), "")
    ports = tuple(
        (port.name, PodPort(port.protocol, port.container_port))
        for container in pod.spec.containers
        for port in container.ports
    )
    return LabPod(
        name=f"{pod.metadata.namespace}/{pod.metadata.name}",
        node=pod.spec.node_name,
        netns=netns,
        address=pod.status.pod_ip,
        phase=pod.status.phase or "Pending",
        message=pod.status.message,
        ports=tuple(dict.fromkeys(ports)),
    )


def pod_named(pods: Sequence[LabPod], name: str) -> LabPod:
    """A pod by ``namespace/name``, or by its name alone in ``default``.

    Raises:
        NotFound: there is none; names the nearest one.
        Unavailable: it does not run.
    """
    full = name if "/" in name else f"{DEFAULT_NAMESPACE}/{name}"
    for pod in pods:
        if pod.name == full:
            if not pod.address:
                raise Unavailable(f"pod {full} does not run: {pod.message or pod.phase}")
            return pod
    same = [pod.name for pod in pods if pod.name.partition("/")[2] == name]
    near = " or ".join(same) or nearest(full, [pod.name for pod in pods])
    hint = f"did you mean {near}?" if near else "see: korat lab status"
    raise NotFound(f"there is no pod {full}", hint)


def targets(pods: Sequence[LabPod], wanted: Wanted) -> list[Target]:
    """Every (from, to, port) that fits; a pod is not tried with itself unless asked for.

    Raises:
        NotFound: a pod that was asked for is not there.
        Invalid: the protocol or port is none.
    """
    _check(wanted)
    senders = [pod_named(pods, wanted.sender)] if wanted.sender else _running(pods)
    receivers = _receivers(pods, wanted)
    themselves = bool(wanted.sender and wanted.receiver)
    return [
        Target(str(path_of(s.netns)), s.name, r.name, r.address, p.protocol, p.port)
        for s in senders
        for r in receivers
        if s is not r or themselves
        for p in _ports(r, wanted)
    ]


def _running(pods: Iterable[LabPod]) -> list[LabPod]:
    return [pod for pod in pods if pod.address]


def _receivers(pods: Sequence[LabPod], wanted: Wanted) -> list[LabPod]:
    if not wanted.receiver:
        return _running(pods)
    if _is_address(wanted.receiver):
        return [LabPod(wanted.receiver, "", "", wanted.receiver, "", "", ())]
    return [pod_named(pods, wanted.receiver)]


def _ports(pod: LabPod, wanted: Wanted) -> list[PodPort]:
    """The declared ports that fit, or the number that was asked for where none is declared."""
    fitting = [
        port
        for name, port in pod.ports
        if wanted.protocol in ("", port.protocol) and wanted.port in ("", name, str(port.port))
    ]
    if not fitting and _is_number(wanted.port):
        fitting = [PodPort(wanted.protocol or "TCP", int(wanted.port))]
    return [port for port in dict.fromkeys(fitting) if port.protocol != "SCTP" or sctp_works()]


def _check(wanted: Wanted) -> None:
    problems = []
    if wanted.protocol and wanted.protocol not in PROTOCOLS:
        rule = f"must be one of {', '.join(PROTOCOLS)}"
        problems.append(Problem("", "--protocol", wanted.protocol, rule))
    if _is_number(wanted.port) and int(wanted.port) not in _PORTS:
        problems.append(Problem("", "--port", wanted.port, "must be 1 to 65535, or a port's name"))
    if _is_address(wanted.receiver) and not _is_number(wanted.port):
        problems.append(
            Problem("", "--port", wanted.port or None, "an address needs a port number")
        )
    if problems:
        raise Invalid(problems)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()


def _is_address(text: str) -> bool:
    try:
        Addr.parse(text)
    except ValueError:
        return False
    return True


def behind(state: LabState, paths: LabPaths, revision: int) -> list[str]:
    """Who is not as far as this revision of the store.

    Nodes that do not enforce it yet, and the kubelet role, which may have to start a pod anew that
    still says it runs.
    """
    places = {f"node {vm.name}": paths.node(vm.name) for vm in state.vms}
    places["the kubelet"] = paths.kubelet
    reports = ((who, latest(place)) for who, place in places.items())
    return [who for who, report in reports if report is None or report.revision < revision]


def settle(state: LabState, paths: LabPaths, store: Store) -> None:
    """Wait until every node enforces what is in the store now, and every pod runs.

    Raises:
        Unavailable: a node does not, with its name.
    """
    deadline = time.monotonic() + _SETTLE_S
    while True:
        pods = pods_of(state, paths, Client(store))
        revision = store.list(["ClusterInformation"]).revision
        waiting = [pod for pod in pods if pod.phase != "Running" and not pod.message]
        late = behind(state, paths, revision)
        if not waiting and not late:
            return
        if time.monotonic() > deadline:
            who = late[0] if late else f"pod {waiting[0].name}"
            raise Unavailable(
                f"{who} is not up to date after {_SETTLE_S:.0f} s", f"see {paths.log}"
            )
        time.sleep(_LOOK_S)

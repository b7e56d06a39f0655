"""Bringing a lab up and filling it, from the side of the one who asked for it.

Everything that can be refused is refused before anything is made: the options, the machine, the
manifests. What fails later takes the whole lab down again, so there is a lab or there is none.
"""

import contextlib
import errno
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import msgspec

from korat.core.errors import Conflict, Invalid, NotFound, Problem, Unavailable
from korat.core.model.pod import Pod
from korat.core.model.resource import Resource
from korat.drivers.store.batch import Outcome, apply
from korat.drivers.store.client import Client, initialize
from korat.drivers.store.memory import MemoryStore
from korat.drivers.store.open import open_store
from korat.lab import preflight, sweep
from korat.lab.blueprint import Blueprint, Options, blueprint
from korat.lab.state import (
    CONTENT,
    FAILED,
    FILLING,
    READY,
    STARTING,
    LabPaths,
    LabState,
    Process,
    alive,
    read_state,
    store_environ,
    this_process,
    write_state,
)

_LOOK_S = 0.05
_START_S = 90.0
_PODS_S = 30.0

Step = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Up:
    """A lab that runs, what was said on the way, and how long it took."""

    state: LabState
    notes: tuple[str, ...]
    seconds: float


def up(paths: LabPaths, options: Options, resources: Sequence[Resource], step: Step) -> Up:
    """Bring a lab up with these objects in it; ``step`` hears what is being done.

    Raises:
        Conflict: the lab is up already.
        Invalid: the options, the environment or the objects are wrong.
        Unsupported: this machine cannot.
        Unavailable: something did not start; nothing of the lab is left.
    """
    begun = time.monotonic()
    plan = blueprint(options)
    _refuse_misplaced(resources, plan)
    preflight.require(plan)
    with _alone(paths, step):
        _refuse_running(paths)
        _rehearse(resources)
        sweep.down(paths)
        with _daemon(paths, options) as process:
            assert process.stdin is not None  # noqa: S101 - Popen promises it for PIPE
            try:
                daemon = _announce(paths, options, process.pid)
                _wait_for(paths, daemon, FILLING, step)
                step("namespaces, policies and pods")
                done = apply(Client(open_store(store_environ(paths))), resources)
                _refuse_partial(done)
                _wait_pods(paths, step)
                process.stdin.write(CONTENT)
                state = _wait_for(paths, daemon, READY, step)
            except BaseException:
                process.stdin.close()
                sweep.down(paths)
                raise
    return Up(state, (*state.notes, *done.notes), time.monotonic() - begun)


@contextlib.contextmanager
def _alone(paths: LabPaths, step: Step) -> Iterator[None]:
    """One ``up`` of a lab after the other.

    The lock is a name in the kernel, which goes with its owner and leaves no file behind.

    Raises:
        Conflict: another one takes too long.
    """
    with socket.socket(socket.AF_UNIX) as lock:
        deadline = time.monotonic() + _START_S
        said = False
        while not _taken(lock, paths):
            if time.monotonic() > deadline:
                raise Conflict(f"another korat lab up of {paths.name} is at work", "wait for it")
            if not said:
                step("waiting for another korat lab up to end")
                said = True
            time.sleep(_LOOK_S)
        paths.root.mkdir(parents=True, exist_ok=True, mode=0o755)
        yield


def _taken(lock: socket.socket, paths: LabPaths) -> bool:
    try:
        lock.bind(f"\0{paths.namespace('up')}")
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return False
        raise
    return True


def _refuse_running(paths: LabPaths) -> None:
    """Refuse beside a lab that is up; what a killed ``up`` left half-way is swept instead."""
    with contextlib.suppress(NotFound):
        state = read_state(paths)
        if alive(state.daemon) and state.phase == READY:
            names = ", ".join(vm.name for vm in state.vms)
            raise Conflict(
                f"lab {paths.name} is up already; its nodes are {names}",
                "look at it with: korat lab status; take it down with: korat lab down",
            )


def _refuse_misplaced(resources: Sequence[Resource], plan: Blueprint) -> None:
    """A pod on a node that will not be there would be waited for in vain."""
    names = [vm.name for vm in plan.vms]
    rule = f"there is no such node; the lab's nodes are {', '.join(names)}"
    problems = [
        Problem(pod.title, "spec.nodeName", pod.spec.node_name, rule)
        for pod in resources
        if isinstance(pod, Pod) and pod.spec.node_name not in ("", *names)
    ]
    if problems:
        raise Invalid(problems)


def _rehearse(resources: Sequence[Resource]) -> None:
    """Write the objects to a store in memory first: what it refuses, the lab would refuse."""
    client = Client(MemoryStore())
    initialize(client, "rehearsal")
    apply(client, resources)


def _refuse_partial(done: Outcome) -> None:
    if done.error:
        raise done.error


@contextlib.contextmanager
def _daemon(paths: LabPaths, options: Options) -> Iterator[subprocess.Popen[bytes]]:
    paths.log.mkdir(parents=True, exist_ok=True)
    words = msgspec.json.encode(options).decode()
    with (paths.log / "daemon.log").open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "korat.lab.daemon", paths.name, words],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            cwd="/",
            start_new_session=True,
            bufsize=0,
        )
    try:
        yield process
    finally:
        with contextlib.suppress(OSError):
            if process.stdin is not None:
                process.stdin.close()
        process.returncode = process.returncode or 0  # it outlives us on purpose


def _announce(paths: LabPaths, options: Options, pid: int) -> Process:
    """Write down whose lab this is before its daemon can: who comes after a kill must find it."""
    daemon = this_process("daemon", pid)
    write_state(paths, LabState(paths.name, options.mode, STARTING, daemon, str(paths.store)))
    return daemon


def _wait_for(paths: LabPaths, daemon: Process, phase: str, step: Step) -> LabState:
    """Wait until this daemon's lab has come so far.

    Raises:
        Unavailable: it did not.
    """
    deadline = time.monotonic() + _START_S
    said = ""
    while time.monotonic() < deadline:
        time.sleep(_LOOK_S)
        try:
            state = read_state(paths)
        except NotFound:
            continue
        if state.step and state.step != said:
            said = state.step
            step(said)
        if state.phase == phase:
            return state
        if state.phase == FAILED or not alive(daemon):
            raise Unavailable(f"the lab did not start: {state.failure or _last_words(paths)}")
    raise Unavailable(f"the lab did not start: {_last_words(paths)}")


def _last_words(paths: LabPaths) -> str:
    lines = (paths.log / "daemon.log").read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"it said nothing in {_START_S:.0f} s"


def _wait_pods(paths: LabPaths, step: Step) -> None:
    client = Client(open_store(store_environ(paths)))
    said = ""
    deadline = time.monotonic() + _PODS_S
    while True:
        pods = [pod for pod in client.read(["Pod"]).of("Pod") if isinstance(pod, Pod)]
        waiting = [pod for pod in pods if pod.status.phase != "Running"]
        if not waiting:
            return
        progress = f"pods: {len(pods) - len(waiting)} of {len(pods)} running"
        if progress != said:
            step(progress)
            said = progress
        if time.monotonic() > deadline:
            first = waiting[0]
            reason = first.status.message or "no answer from its node"
            raise Unavailable(f"{len(waiting)} pods do not run; {first.title}: {reason}")
        time.sleep(_LOOK_S)

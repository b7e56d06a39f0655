"""The process that is a running lab: ARM, the fabric, the nodes' agents, the kubelet role.

Started by ``korat lab up``, which holds the other end of its standard input: when that closes
before ``up`` has said that all is well, the lab takes itself down, so a killed ``lab up`` leaves
nothing. On SIGTERM everything ends in the reverse order of its start. In between it does what verbs
ask of it, one thing after the other and in its main thread, the only one that may start children.
"""

import os
import selectors
import signal
import sys
import time
from collections.abc import Iterable
from contextlib import ExitStack
from types import FrameType

import msgspec
import structlog
from msgspec.structs import replace

from korat.core.errors import KoratError, Unavailable
from korat.drivers import log as log_setup
from korat.lab import sweep
from korat.lab.blueprint import Blueprint, Options, Vm, blueprint
from korat.lab.cloud import Cloud
from korat.lab.cluster import LabCluster
from korat.lab.control import Answer, Desk
from korat.lab.membership import Membership, Waiting
from korat.lab.process import open_files_room
from korat.lab.responder import sctp_works
from korat.lab.state import (
    CONTENT,
    FAILED,
    FILLING,
    READY,
    STARTING,
    LabPaths,
    LabState,
    VmState,
    this_process,
    write_state,
)

log = structlog.get_logger(__name__)

_READY_TIMEOUT_S = 60.0
_LOOK_S = 0.05
_TEND_S = 0.5

SCTP_NOTE = "this kernel has no SCTP sockets: SCTP ports neither answer nor are probed"


class Daemon:
    """Brings one lab up, keeps it, takes it down."""

    def __init__(self, paths: LabPaths, plan: Blueprint) -> None:
        self._paths = paths
        self._plan = plan
        self._wake, wake_writer = os.pipe()
        os.set_blocking(wake_writer, False)
        signal.set_wakeup_fd(wake_writer)
        self._stopping = False
        self._abandoned = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wake, selectors.EVENT_READ, self._woken)
        self._selector.register(sys.stdin.fileno(), selectors.EVENT_READ, self._told)
        self._state = LabState(
            name=paths.name,
            mode=plan.options.mode,
            phase=STARTING,
            daemon=this_process("daemon"),
            store_path=str(paths.store),
            vms=_vm_states(plan.vms, paths),
            vnet_cidr=str(plan.vnet),
            subnet_cidr=str(plan.subnet),
            cluster_cidr=str(plan.cluster),
            azure_config=str(paths.azure_config),
            notes=() if sctp_works() else (SCTP_NOTE,),
        )

    def run(self) -> None:
        """The whole life of a lab."""
        with ExitStack() as stack:
            try:
                self._bring_up(stack)
                desk = Desk(self._paths.control, self._selector)
                stack.callback(desk.close)
                self._say(phase=FILLING, step="", processes=self._cluster.processes)
                while not self._stopping:
                    self._pause(_TEND_S)
                    self._cluster.tend()
                    self._serve(desk)
                    self._say(processes=self._cluster.processes)
            except KoratError as error:
                log.error("the lab failed", error=str(error))
                self._say(phase=FAILED, failure=str(error))
        if self._abandoned:
            sweep.forget(self._paths)

    def _bring_up(self, stack: ExitStack) -> None:
        self._pause(0)  # lab up may have ended before this process began
        self._say(step="Azure: virtual network, NICs, fabric")
        cloud = Cloud(self._plan, self._paths)
        stack.callback(cloud.close)
        cloud.open()
        self._say(arm_url=cloud.url, sdk_environ=cloud.environ, step="datastore and nodes")
        self._cluster = LabCluster(self._plan, self._paths, cloud.environ)
        stack.callback(self._cluster.stop)
        self._members = Membership(self._plan, cloud, self._cluster, self._wait, self._tell)
        self._cluster.start()
        self._say(processes=self._cluster.processes)
        self._wait(self._cluster.waiting_for)

    def _serve(self, desk: Desk) -> None:
        """Do what is asked for now; a request that cannot be met is answered, and harms nobody."""
        while not self._stopping and (asked := desk.next()):
            log.info("asked", request=asked.request)
            try:
                answer = self._members.carry_out(asked.request)
            except (KoratError, OSError) as error:
                log.warning("refused", request=asked.request, error=str(error))
                answer = Answer(refusal=str(error))
            self._say(step="", processes=self._cluster.processes)
            asked.answer(answer)

    def _wait(self, waiting_for: Waiting) -> None:
        """Keep the lab until nobody is waited for any more.

        Raises:
            Unavailable: it takes too long, somebody ended, or the lab was told to stop.
        """
        deadline = time.monotonic() + _READY_TIMEOUT_S
        while waiting := waiting_for():
            self._say(step=f"waiting for {', '.join(waiting)}")
            if self._stopping:
                raise Unavailable("the lab is being taken down")
            if time.monotonic() > deadline:
                who = ", ".join(waiting)
                raise Unavailable(f"not ready after {_READY_TIMEOUT_S:.0f} s: {who}")
            self._pause(_LOOK_S)
            self._cluster.tend()

    def _tell(self, plan: Blueprint) -> None:
        """Write down which nodes there are now."""
        self._say(vms=_vm_states(plan.vms, self._paths), processes=self._cluster.processes)

    def _say(self, **changes: object) -> None:
        """Write the state file when something in it changed."""
        state = replace(self._state, **changes)
        if state != self._state or not self._paths.state.exists():
            self._state = state
            write_state(self._paths, state)

    def _pause(self, seconds: float) -> None:
        """Sleep, but wake for a signal, for the end of ``lab up`` and for who asks for something.

        Raises:
            Unavailable: ``lab up`` ended before it was content, or the lab was told to stop.
        """
        for key, _ in self._selector.select(seconds):
            key.data()
        if self._stopping and self._state.phase == STARTING:
            raise Unavailable("the lab was stopped while it started")

    def _woken(self) -> None:
        os.read(self._wake, 64)

    def _told(self) -> None:
        """``lab up`` said something, or ended."""
        self._selector.unregister(sys.stdin.fileno())
        if os.read(sys.stdin.fileno(), 64) == CONTENT:
            self._say(phase=READY)
        else:
            log.info("lab up ended before the lab was wanted")
            self._stopping = self._abandoned = True

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._stopping = True


def _vm_states(vms: Iterable[Vm], paths: LabPaths) -> tuple[VmState, ...]:
    return tuple(
        VmState(vm.name, str(vm.address), vm.nic, str(vm.pod_cidr or ""), paths.namespace(vm.name))
        for vm in vms
    )


def main(name: str, options: str) -> None:
    """Be the daemon of lab ``name``; ``options`` is the JSON of ``blueprint.Options``."""
    log_setup.configure(os.environ)
    open_files_room()
    paths = LabPaths(name)
    plan = blueprint(msgspec.json.decode(options, type=Options))
    Daemon(paths, plan).run()


if __name__ == "__main__":
    main(*sys.argv[1:])

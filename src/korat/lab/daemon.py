"""The process that is a running lab: ARM, the fabric, the nodes' agents, the kubelet role.

Started by ``korat lab up``, which holds the other end of its standard input: when that closes
before ``up`` has said that all is well, the lab takes itself down, so a killed ``lab up`` leaves
nothing. On SIGTERM everything ends in the reverse order of its start.
"""

import os
import selectors
import signal
import sys
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
        self._selector.register(self._wake, selectors.EVENT_READ)
        self._selector.register(sys.stdin.fileno(), selectors.EVENT_READ)
        self._state = LabState(
            name=paths.name,
            mode=plan.mode,
            phase=STARTING,
            daemon=this_process("daemon"),
            store_path=str(paths.store),
            vms=tuple(_vm_state(vm, paths) for vm in plan.vms),
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
                cluster = self._bring_up(stack)
                self._say(phase=FILLING, step="", processes=cluster.processes)
                while not self._stopping:
                    self._pause(_TEND_S)
                    if cluster.tend():
                        self._say(processes=cluster.processes)
            except KoratError as error:
                log.error("the lab failed", error=str(error))
                self._say(phase=FAILED, failure=str(error))
        if self._abandoned:
            sweep.forget(self._paths)

    def _bring_up(self, stack: ExitStack) -> LabCluster:
        self._pause(0)  # lab up may have ended before this process began
        self._say(step="Azure: virtual network, NICs, fabric")
        cloud = Cloud(self._plan, self._paths)
        stack.callback(cloud.close)
        cloud.open()
        self._say(arm_url=cloud.url, sdk_environ=cloud.environ, step="datastore and nodes")
        cluster = LabCluster(self._plan, self._paths, cloud.environ)
        stack.callback(cluster.stop)
        cluster.announce_nodes()
        cluster.start()
        self._say(processes=cluster.processes)
        self._wait_ready(cluster)
        return cluster

    def _wait_ready(self, cluster: LabCluster) -> None:
        waited_s = 0.0
        while waiting := cluster.waiting_for():
            self._say(step=f"waiting for {', '.join(waiting)}")
            if waited_s > _READY_TIMEOUT_S:
                raise Unavailable(f"not ready after {waited_s:.0f} s: {', '.join(waiting)}")
            self._pause(_LOOK_S)
            waited_s += _LOOK_S
            cluster.tend()

    def _say(self, **changes: object) -> None:
        """Write the state file when something in it changed."""
        state = replace(self._state, **changes)
        if state != self._state or not self._paths.state.exists():
            self._state = state
            write_state(self._paths, state)

    def _pause(self, seconds: float) -> None:
        """Sleep, but wake for a signal and for the end of ``lab up``.

        Raises:
            Unavailable: ``lab up`` ended before it was content, or the lab was told to stop.
        """
        for key, _ in self._selector.select(seconds):
            if key.fileobj == self._wake:
                os.read(self._wake, 64)
            else:
                self._selector.unregister(key.fileobj)
                if os.read(sys.stdin.fileno(), 64) == CONTENT:
                    self._say(phase=READY)
                else:
                    log.info("lab up ended before the lab was wanted")
                    self._stopping = self._abandoned = True
        if self._stopping and self._state.phase == STARTING:
            raise Unavailable("the lab was stopped while it started")

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._stopping = True


def _vm_state(vm: Vm, paths: LabPaths) -> VmState:
    netns = paths.namespace(vm.name)
    return VmState(vm.name, str(vm.address), vm.nic, str(vm.pod_cidr), netns)


def main(name: str, options: str) -> None:
    """Be the daemon of lab ``name``; ``options`` is the JSON of ``blueprint.Options``."""
    log_setup.configure(os.environ)
    open_files_room()
    paths = LabPaths(name)
    plan = blueprint(msgspec.json.decode(options, type=Options))
    Daemon(paths, plan).run()


if __name__ == "__main__":
    main(*sys.argv[1:])

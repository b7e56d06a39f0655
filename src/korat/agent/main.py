"""``korat node run``: puts the node program together and keeps it until it is told to end.

Ends with the kernel as it is, so that traffic goes on under the last policy while the agent is
replaced. Every part is a thread that calls into the loop; nothing here decides anything.
"""

import asyncio
import contextlib
import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import structlog

from korat.agent.address_source import AZURE, AZURE_VNET, CALICO, HOST_LOCAL, AddressSources
from korat.agent.azure_ipam import AzureIpam
from korat.agent.azure_vnet_ipam import AzureVnetIpam
from korat.agent.calico_ipam import CalicoIpam
from korat.agent.chained import ChainedWorkloads
from korat.agent.cni import serve
from korat.agent.cni_program import Program, Programs
from korat.agent.feed import Batch, Feed
from korat.agent.hostlocal import HostLocal
from korat.agent.intent import NodeState
from korat.agent.kernel import NodeKernel
from korat.agent.loop import NodeLoop
from korat.agent.networking import Networking
from korat.agent.networking_option import networking_of
from korat.agent.nic_watch import azure_ipam
from korat.agent.observe import Observer
from korat.agent.precedence import Precedence
from korat.agent.settings import NodeSettings, node_settings
from korat.agent.startup import announce, own_addresses
from korat.agent.workload import Workloads
from korat.core.errors import Conflict, Unavailable
from korat.core.model.felix import settings as felix_settings
from korat.core.model.key import Key
from korat.drivers.kernel.conntrack import Conntrack
from korat.drivers.kernel.monitor import Monitor
from korat.drivers.kernel.pod_end import PodEnds
from korat.drivers.kernel.veth import Veths
from korat.drivers.report import NodeReport, publish, publish_addresses, publish_tunnels
from korat.drivers.store.client import Client
from korat.drivers.store.open import open_store
from korat.ports import Store

log = structlog.get_logger(__name__)

_RETRY_S = 1.0
#: A thread that has work for long must not keep the node loop waiting: Python's own 5 ms are as
#: long as a whole change takes.
_SWITCH_S = 0.0001


def run(environ: Mapping[str, str]) -> None:
    """Be the agent of this node until SIGTERM.

    Raises:
        Invalid: the environment is wrong.
        Unsupported: this machine cannot run it.
    """
    # The cluster is read once and stays: looking through it for garbage would take as long again.
    gc.disable()
    sys.setswitchinterval(_SWITCH_S)
    settings = node_settings(environ)
    settings.run_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    precedence = Precedence()
    publish_tunnels(settings.run_dir, ())
    publish_addresses(settings.run_dir, None)
    networking = networking_of(settings, environ)
    azure, nic_watch = azure_ipam(environ, partial(publish_addresses, settings.run_dir))
    kernel = NodeKernel(give_way=precedence.give_way, keep_tunnels=networking.want)
    kernel.prepare()
    store = open_store(environ)
    announced = _announce(Client(store), settings)
    lost = threading.Event()
    loop = NodeLoop(
        lambda: NodeState(settings.node_name, environ, networking.tunnels),
        kernel,
        lambda done: _report(settings, observer, done),
        lost.set,
        precedence,
    )
    observer = Observer(settings.node_name, settings.run_dir, lambda: loop.enforced)
    conntrack = Conntrack()
    sources = _address_sources(store, settings, networking, azure)
    prefixes = _interface_prefixes(settings, environ, loop)
    programs = _programs(store, loop, networking, conntrack, sources, prefixes)
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.closing(kernel))
        stack.enter_context(conntrack)
        stack.enter_context(nic_watch.watching())
        networking.start(store, announced, lambda: loop.refresh(reload=False))
        stack.callback(networking.close)
        feed = Feed(store, _heard(loop, networking), lost)
        stack.enter_context(_threads(loop, feed, observer, networking))
        asyncio.run(_serve_until_told(settings.socket_path, programs))


async def _serve_until_told(path: Path, programs: Program) -> None:
    """Answer CNI requests until SIGTERM or SIGINT."""
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    server = asyncio.create_task(serve(path, programs))
    ended = asyncio.create_task(told.wait())
    await asyncio.wait({server, ended}, return_when=asyncio.FIRST_COMPLETED)
    ended.cancel()
    if told.is_set():
        server.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await server


def _interface_prefixes(
    settings: NodeSettings, environ: Mapping[str, str], loop: NodeLoop
) -> Callable[[], tuple[str, ...]]:
    """The prefixes of workloads' interfaces as they are enforced; until then as told at start."""
    told, _ = felix_settings(settings.node_name, {}, (), environ)
    return lambda: (loop.enforced.felix if loop.enforced else told).interface_prefix


def _programs(
    store: Store,
    loop: NodeLoop,
    networking: Networking,
    conntrack: Conntrack,
    sources: AddressSources,
    prefixes: Callable[[], tuple[str, ...]],
) -> Programs:
    """The node's side of CNI."""

    def ready() -> str:
        return "" if loop.ready else "the first policy is not in the kernel"

    def programmed(_key: Key, timeout_s: float) -> bool:
        return _programmed(store, loop, timeout_s)

    network = Workloads(
        node_name=networking.node_name,
        store=store,
        links=Veths(),
        ipam=sources,
        forget=conntrack.forget,
        wait_programmed=programmed,
        ready=ready,
        mtu_bytes=lambda: networking.pod_mtu_bytes(loop.enforced),
        interface_prefixes=prefixes,
    )
    policy = ChainedWorkloads(
        node_name=networking.node_name,
        store=store,
        pods=PodEnds(),
        wait_programmed=programmed,
        forget=conntrack.forget,
        ready=ready,
        interface_prefixes=prefixes,
    )
    return Programs(network, policy)


def _address_sources(
    store: Store, settings: NodeSettings, networking: Networking, azure: AzureIpam
) -> AddressSources:
    return AddressSources(
        {
            HOST_LOCAL: HostLocal(lambda: networking.subnets(store)),
            CALICO: CalicoIpam(store, settings.node_name),
            AZURE: azure,
            AZURE_VNET: AzureVnetIpam(settings.azure_state_dir),
        }
    )


def _announce(client: Client, settings: NodeSettings) -> tuple[str, str]:
    """Say who this node is, as soon as the datastore can be written."""
    addresses = own_addresses(settings)
    while True:
        try:
            announce(client, settings, *addresses)
        except (Unavailable, Conflict) as error:
            log.warning("cannot announce the node", error=str(error), retry_s=_RETRY_S)
            time.sleep(_RETRY_S)
        else:
            return addresses


def _heard(loop: NodeLoop, networking: Networking) -> Callable[[Batch], None]:
    """What is done with each batch of changes."""

    def deliver(batch: Batch) -> None:
        networking.told(batch)
        loop.deliver(batch)

    return deliver


@contextlib.contextmanager
def _threads(
    loop: NodeLoop, feed: Feed, observer: Observer, networking: Networking
) -> Iterator[None]:
    """The observer, the feed, the monitor and the loop itself, ended in that order."""

    def on_link() -> None:
        loop.refresh(reload=False)
        networking.heard()

    monitor = Monitor("korat", on_link=on_link, on_table=lambda: _mend(loop))
    worker = threading.Thread(target=loop.run, name="node-loop", daemon=True)
    worker.start()
    feed.start()
    observer.start()
    try:
        yield
    finally:
        observer.close()
        feed.stop()
        monitor.close()
        loop.stop()
        worker.join()


def _mend(loop: NodeLoop) -> None:
    log.warning("somebody else changed the table inet korat; it is loaded again")
    loop.refresh(reload=True)


def _programmed(store: Store, loop: NodeLoop, timeout_s: float) -> bool:
    """Whether all that is in the store now gets into the kernel in time."""
    return loop.wait_applied(store.list(["WorkloadEndpoint"]).revision, timeout_s)


def _report(settings: NodeSettings, observer: Observer, revision: int) -> None:
    """Publish what is in the kernel."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()
    observer.ring()
    publish(settings.run_dir, NodeReport(settings.node_name, os.getpid(), revision))
    if settings.ready_file is not None and not settings.ready_file.exists():
        settings.ready_file.touch()

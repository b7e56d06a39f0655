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

from korat.agent.cni import serve
from korat.agent.cni_program import Program
from korat.agent.feed import Batch, Feed
from korat.agent.intent import NodeState
from korat.agent.kernel import NodeKernel
from korat.agent.loop import NodeLoop
from korat.agent.networking import Networking
from korat.agent.networking_option import leave_others, networking_of
from korat.agent.nic_watch import azure_ipam
from korat.agent.node_cni import address_sources, node_programs
from korat.agent.observe import Observer
from korat.agent.precedence import Precedence
from korat.agent.settings import NodeSettings, node_settings
from korat.agent.startup import announce, own_addresses
from korat.core.errors import Conflict, Unavailable
from korat.core.model.felix import settings as felix_settings
from korat.drivers.kernel.conntrack import Conntrack
from korat.drivers.kernel.monitor import Monitor
from korat.drivers.report import NodeReport, publish, publish_addresses, publish_tunnels
from korat.drivers.store.client import Client
from korat.drivers.store.open import open_store

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
    leave_others(settings)
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
    sources = address_sources(store, settings, networking, azure)
    told, _ = felix_settings(settings.node_name, {}, (), environ)
    programs = node_programs(store, loop, networking, conntrack, sources, told)
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


def _report(settings: NodeSettings, observer: Observer, revision: int) -> None:
    """Publish what is in the kernel."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()
    observer.ring()
    publish(settings.run_dir, NodeReport(settings.node_name, os.getpid(), revision))
    if settings.ready_file is not None and not settings.ready_file.exists():
        settings.ready_file.touch()

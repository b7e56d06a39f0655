"""The agent's side of CNI: a unix socket that only root may use, one request per connection.

The wire is one line of JSON each way; see ``korat.cni.agent``. Requests run in threads, at most
``_WORKERS`` at a time; one workload's requests run one after the other, and a GC runs alone. A DEL
that the store cannot take now is queued on disk, answered with success, and tried again.

Not for the work itself; ``korat.agent.workload`` and ``korat.agent.chained`` do it.
Source: CNI specification 1.1.0; unix(7) for SO_PEERCRED.
"""

import asyncio
import contextlib
import os
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import msgspec
import structlog

from korat.agent.cni_program import Program
from korat.agent.cni_queue import DeletionQueue
from korat.agent.workload_request import Request, decode
from korat.core.errors import (
    Conflict,
    Invalid,
    KoratError,
    NotFound,
    Problem,
    Unavailable,
    Unsupported,
)

log = structlog.get_logger(__name__)

_WORKERS = 8
_MAX_CONNECTIONS = 256
_MAX_LINE_BYTES = 2 << 20
_READ_S = 10.0
_RETRY_S = 5.0

# CNI's own numbers where it has one; from 100 on they are the plugin's.
_INVALID_CONFIG = 7
_TRY_AGAIN_LATER = 11
_NOT_AVAILABLE = 50
_INTERNAL = 999
_CODES: tuple[tuple[type[KoratError], int], ...] = (
    (Invalid, _INVALID_CONFIG),
    (Unavailable, _TRY_AGAIN_LATER),
    (NotFound, 100),
    (Conflict, 101),
    (Unsupported, 102),
)


async def serve(path: Path, workloads: Program, started: Callable[[], None] | None = None) -> None:
    """Answer requests at ``path`` until cancelled; ``started`` is called once it listens.

    What was queued while nobody listened is carried out first thing after.

    Raises:
        Conflict: another agent listens there.
    """
    server = _Server(workloads, DeletionQueue(path.parent))
    listener = await asyncio.start_unix_server(
        server.converse, sock=_listen(path), limit=_MAX_LINE_BYTES
    )
    try:
        async with listener, asyncio.TaskGroup() as tasks:
            if started is not None:
                started()
            tasks.create_task(server.drain_forever())
            tasks.create_task(listener.serve_forever())
    finally:
        _leave(path)
        server.close()


def _leave(path: Path) -> None:
    path.unlink(missing_ok=True)


def _listen(path: Path) -> socket.socket:
    """The socket, at ``path`` only when it is whole and only root may open it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
        probe.connect(str(path))
        raise Conflict(f"another agent listens at {path}", "stop that one first")
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(str(unfinished))
        unfinished.chmod(0o600)
        listener.listen(_MAX_CONNECTIONS)
        unfinished.replace(path)
    except OSError as error:
        listener.close()
        unfinished.unlink(missing_ok=True)
        raise Unavailable(f"{path} cannot be listened at: {error.strerror}") from error
    return listener


class _Server:
    """What the connections share: the threads, the locks and the queue."""

    def __init__(self, workloads: Program, queue: DeletionQueue) -> None:
        self._workloads = workloads
        self._queue = queue
        self._threads = ThreadPoolExecutor(_WORKERS, thread_name_prefix="cni")
        self._places = asyncio.Semaphore(_WORKERS)
        self._alone = asyncio.Lock()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._connections = 0

    def close(self) -> None:
        """Let the threads finish what they are at."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection: read the request, do it, answer."""
        self._connections += 1
        try:
            if _is_allowed(writer):
                writer.write(msgspec.json.encode(await self._answer(reader)) + b"\n")
                await writer.drain()
        except OSError as error:
            log.info("a CNI caller went away", error=str(error))
        finally:
            self._connections -= 1
            writer.close()

    async def drain_forever(self) -> None:
        """Carry out what is queued, now and whenever something is."""
        while True:
            try:
                for path, request in self._queue.waiting():
                    await self._drain(path, request)
            except Exception:
                # What is queued must not take the agent with it, nor be lost.
                log.exception("the queued deletions cannot be carried out now")
            await asyncio.sleep(_RETRY_S)

    async def _drain(self, path: Path, request: Request) -> None:
        try:
            async with self._turn(request):
                await self._in_thread(self._workloads.delete, request)
        except Invalid as error:
            self._queue.put_aside(path, str(error))
        except KoratError as error:
            log.info("a queued deletion waits", subject=request.subject, reason=str(error))
        else:
            self._queue.drop(path)

    async def _answer(self, reader: asyncio.StreamReader) -> dict[str, Any]:
        try:
            if self._connections > _MAX_CONNECTIONS:
                raise Unavailable("the agent has too many requests at once")
            line = await _line(reader)
            request = decode(line)
        except KoratError as error:
            return _error(error, "")
        begun = time.monotonic()
        reply = await self._reply(request, line)
        took_ms = round((time.monotonic() - begun) * 1000)
        fault = reply.get("error", {})
        log.info("cni", command=request.command, subject=request.subject, ms=took_ms, **fault)
        return reply

    async def _reply(self, request: Request, line: bytes) -> dict[str, Any]:
        try:
            work = _work(self._workloads, request)
            async with self._turn(request):
                return {"result": await self._in_thread(work, request)}
        except Unavailable as error:
            if request.command != "DEL":
                return _error(error, request.command)
            self._queue.put(request, line)
            log.info("a deletion is queued", subject=request.subject, reason=str(error))
            return {"result": None}
        except KoratError as error:
            return _error(error, request.command)
        except Exception as error:
            # One request that meets a defect must not take the agent with it.
            log.exception("a CNI request met a defect", subject=request.subject)
            return {"error": {"code": _INTERNAL, "msg": f"a defect in korat: {error!r}"}}

    @contextlib.asynccontextmanager
    async def _turn(self, request: Request) -> AsyncIterator[None]:
        """This request's turn: a thread is free and nobody works on the same workload."""
        if request.command == "GC":
            async with self._alone, contextlib.AsyncExitStack() as places:
                for _ in range(_WORKERS):
                    await places.enter_async_context(self._places)
                yield
            return
        lock = self._locks.setdefault(request.subject, asyncio.Lock())
        async with lock, self._places:
            yield

    async def _in_thread(self, work: Callable[[Request], Any], request: Request) -> Any:  # noqa: ANN401 - a CNI result is JSON
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, request)


def _work(workloads: Program, request: Request) -> Callable[[Request], Any]:
    match request.command:
        case "ADD":
            return workloads.add
        case "DEL":
            return workloads.delete
        case "CHECK":
            return workloads.check
        case "GC":
            return workloads.gc
        case "STATUS":
            return workloads.status
        case other:
            raise Invalid([Problem("CNI request", "command", other, "is not a CNI command")])


def _is_allowed(writer: asyncio.StreamWriter) -> bool:
    """Whether the caller is root, or who the agent runs as."""
    peer: socket.socket = writer.get_extra_info("socket")
    size = struct.calcsize("3i")
    _, uid, _ = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return uid in (0, os.geteuid())


async def _line(reader: asyncio.StreamReader) -> bytes:
    try:
        async with asyncio.timeout(_READ_S):
            return await reader.readuntil(b"\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError) as error:
        rule = f"is not one line of at most {_MAX_LINE_BYTES} bytes within {_READ_S:g} s"
        raise Invalid([Problem("CNI request", "", None, rule)]) from error


def _error(error: KoratError, command: str) -> dict[str, Any]:
    code = next((number for kind, number in _CODES if isinstance(error, kind)), _INTERNAL)
    if command == "STATUS":
        code = _NOT_AVAILABLE
    return {"error": {"code": code, "msg": error.what, "details": error.remedy}}

"""Processes of the benchmark: pinned, forked with a pipe, and gone when the benchmark is gone.

For: the two ends of the load, writers and probers, each a process of its own. A forked worker is
told what to do through its pipe and answers through it. Not for the agent, which ``agent`` starts.
Source: prctl(2), sched_setaffinity(2).
"""

import ctypes
import multiprocessing
import os
import select
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

_PR_SET_PDEATHSIG = 1
_TURN_S = 20.0
_libc = ctypes.CDLL(None, use_errno=True)
_FORK = multiprocessing.get_context("fork")


class BenchError(Exception):
    """The benchmark cannot measure what it should; the text says why."""


def cores() -> tuple[int, int]:
    """Two processors to pin to: two different ones where the machine lets us have them."""
    found = sorted(os.sched_getaffinity(0))
    return found[0], found[-1]


def pin(core: int) -> None:
    """Keep the calling process on one processor."""
    os.sched_setaffinity(0, {core})


def die_with_parent() -> None:
    """End this process when the thread that made it ends, killed or not."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Turns:
    """Whose turn it is, between two workers that are told to take turns; make it before them."""

    def __init__(self) -> None:
        self._client = os.pipe()  # what the client waits for
        self._server = os.pipe()

    def to_server(self) -> None:
        """The client has done its part, and waits until the server has done its own."""
        os.write(self._server[1], b".")
        self._wait(self._client[0])

    def await_client(self) -> None:
        """The server waits for its turn."""
        self._wait(self._server[0])

    def to_client(self) -> None:
        """The server has done its part."""
        os.write(self._client[1], b".")

    def close(self) -> None:
        """Give the descriptors back."""
        for each in (*self._client, *self._server):
            os.close(each)

    @staticmethod
    def _wait(descriptor: int) -> None:
        if not select.select([descriptor], [], [], _TURN_S)[0]:
            raise BenchError(f"the other end did not take its turn within {_TURN_S:.0f} s")
        os.read(descriptor, 1)


class Worker:
    """A forked process that answers questions; call it from the thread that made it."""

    def __init__(self, process: "multiprocessing.process.BaseProcess", pipe: Connection) -> None:
        self.process = process
        self._pipe = pipe

    def tell(self, *words: object) -> None:
        """Give it something to do, and go on."""
        self._pipe.send(words)

    def answer(self, timeout_s: float = 120.0) -> object:
        """What it says about the oldest thing that it was told.

        Raises:
            BenchError: it failed, or says nothing in time.
        """
        if not self._pipe.poll(timeout_s):
            raise BenchError(f"worker {self.process.name} said nothing for {timeout_s:.0f} s")
        try:
            failed, value = self._pipe.recv()
        except EOFError as error:
            raise BenchError(f"worker {self.process.name} died") from error
        if failed:
            raise BenchError(f"worker {self.process.name}: {value}")
        return value

    def ask(self, *words: object, timeout_s: float = 120.0) -> object:
        """Tell it something and wait for the answer."""
        self.tell(*words)
        return self.answer(timeout_s)


@contextmanager
def worker(name: str, core: int, serve: Callable[..., object]) -> Iterator[Worker]:
    """A process on one core that calls ``serve`` with whatever it is told, until the block ends."""
    ours, theirs = _FORK.Pipe()
    process = _FORK.Process(target=_work, args=(theirs, ours, core, serve), name=name, daemon=True)
    process.start()
    theirs.close()
    try:
        yield Worker(process, ours)
    finally:
        ours.close()
        process.join(5)
        if process.is_alive():
            process.kill()
            process.join()


def _work(pipe: Connection, other: Connection, core: int, serve: Callable[..., object]) -> None:
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent takes it, and closes the pipe
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    other.close()
    pin(core)
    while True:
        try:
            words = pipe.recv()
        except EOFError:
            return
        try:
            said: tuple[bool, object] = (False, serve(*words))
        except Exception as error:  # noqa: BLE001 - carried to the parent, which ends the run
            traceback.print_exc(file=sys.stderr)
            said = (True, f"{type(error).__name__}: {error}")
        pipe.send(said)

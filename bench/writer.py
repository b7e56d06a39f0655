"""Somebody else who writes to the store: a process of its own, through korat's store client.

Times are of the writer's own clock reading just before its first call into the client, so what the
write itself takes is part of what is measured.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.cluster import fresh_pod, probe_policy
from bench.process import BenchError, Worker, worker
from korat.core.model.default import apply as with_defaults
from korat.core.model.resource import Resource
from korat.drivers.store.client import Client
from korat.drivers.store.sqlite import SqliteStore


class _Writing:
    """The store; lives in the worker process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._client: Client | None = None
        self._policy: Resource | None = None

    def serve(self, act: str, *words: object) -> tuple[int, int]:
        """What the worker is told; answers when it began and ended, on the monotonic clock."""
        if self._client is None:  # not before the fork: sqlite must not be taken across one
            self._client = Client(SqliteStore(self._path))
        acts: dict[str, Callable[..., tuple[int, int]]] = {
            "policy": self._write_policy,
            "create": self._create,
            "delete": self._delete,
        }
        return acts[act](self._client, *words)

    def _write_policy(self, client: Client, port: int, asker: str) -> tuple[int, int]:
        policy = probe_policy(port, asker)
        begun = time.monotonic_ns()
        if self._policy is None:
            self._policy = client.create(policy)
        else:
            self._policy = client.update(policy, self._policy)
        return begun, time.monotonic_ns()

    def _create(self, client: Client, first: int, count: int) -> tuple[int, int]:
        pods = [with_defaults(fresh_pod(n)) for n in range(first, first + count)]
        begun = time.monotonic_ns()
        for pod in pods:
            client.create(pod)
        return begun, time.monotonic_ns()

    def _delete(self, client: Client, first: int, count: int) -> tuple[int, int]:
        keys = [fresh_pod(n).key for n in range(first, first + count)]
        begun = time.monotonic_ns()
        for key in keys:
            client.store.delete(key)
        return begun, time.monotonic_ns()


class Writer:
    """Asks from the main process; each answer is when the writing began and ended, in ns."""

    def __init__(self, asked: Worker) -> None:
        self._worker = asked

    def policy(self, port: int, asker: str) -> tuple[int, int]:
        """Let this asker send to this port of the server, and nothing else."""
        return self._ask("policy", port, asker)

    def create(self, first: int, count: int) -> tuple[int, int]:
        """New pods elsewhere, one write each."""
        return self._ask("create", first, count)

    def delete(self, first: int, count: int) -> tuple[int, int]:
        """They go."""
        return self._ask("delete", first, count)

    def _ask(self, *words: object) -> tuple[int, int]:
        found = self._worker.ask(*words, timeout_s=300)
        if not isinstance(found, tuple):
            raise BenchError(f"not two times: {found!r}")
        return found


@contextmanager
def writer(path: Path, core: int) -> Iterator[Writer]:
    """A writer to this store, on a processor."""
    with worker("writer", core, _Writing(path).serve) as asked:
        yield Writer(asked)

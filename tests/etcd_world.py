"""Real etcds for tests: one or several members on loopback, their certificates, a broken wire.

They die with the test process, also when that is killed. Where etcd is not installed, ``need``
skips and says so.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from korat.drivers.etcd.client import Etcd
from korat.drivers.etcd.settings import Endpoint, EtcdSettings
from korat.drivers.etcd.value import Change, Put
from korat.drivers.etcd.watch import EtcdWatch

PATIENCE_S = 20.0


def need() -> None:
    """Skip where there is no etcd to test against."""
    missing = [each for each in ("etcd", "etcdctl") if shutil.which(each) is None]
    if missing:
        pytest.skip(
            f"{' and '.join(missing)} not installed: apt-get install etcd-server etcd-client"
        )


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@dataclass
class Member:
    """One member; its data outlive its process."""

    name: str
    folder: Path
    secure: bool = False
    options: Sequence[str] = ()
    port: int = field(default_factory=free_port)
    peer_port: int = field(default_factory=free_port)
    metrics_port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint("127.0.0.1", self.port, self.secure)

    @property
    def url(self) -> str:
        return f"{'https' if self.secure else 'http'}://127.0.0.1:{self.port}"

    @property
    def peer_url(self) -> str:
        return f"http://127.0.0.1:{self.peer_port}"

    def start(self, cluster: str = "") -> None:
        command = ["setpriv", "--pdeathsig", "KILL", "etcd", "--name", self.name]
        command += ["--data-dir", str(self.folder / self.name), "--log-level", "error"]
        command += ["--listen-client-urls", self.url, "--advertise-client-urls", self.url]
        command += ["--listen-peer-urls", self.peer_url]
        command += ["--initial-advertise-peer-urls", self.peer_url]
        command += ["--initial-cluster", cluster or f"{self.name}={self.peer_url}"]
        command += ["--listen-metrics-urls", f"http://127.0.0.1:{self.metrics_port}"]
        command += ["--heartbeat-interval", "50", "--election-timeout", "500", *self.options]
        with (self.folder / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def wait(self) -> None:
        """Until it works, and knows a leader."""
        deadline = time.monotonic() + PATIENCE_S
        while not self._healthy():
            log = (self.folder / f"{self.name}.log").read_text()[-2000:]
            assert self.process.poll() is None, log
            assert time.monotonic() < deadline, log
            time.sleep(0.02)

    def _healthy(self) -> bool:
        url = f"http://127.0.0.1:{self.metrics_port}/health"
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                return json.load(answer)["health"] == "true"
        except (OSError, ValueError):
            return False

    def kill(self) -> None:
        """As a power cut would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """It holds its connections and says nothing."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)


@dataclass
class World:
    """A cluster of members."""

    members: list[Member]

    @property
    def member(self) -> Member:
        return self.members[0]

    def settings(self, **changed: object) -> EtcdSettings:
        endpoints = tuple(member.endpoint for member in self.members)
        return EtcdSettings(**{"endpoints": endpoints, "timeout_s": 10.0, **changed})

    def start(self) -> None:
        cluster = ",".join(f"{m.name}={m.peer_url}" for m in self.members)
        for member in self.members:
            member.start(cluster)
        for member in self.members:
            member.wait()

    def ctl(self, *arguments: str, environ: Mapping[str, str] | None = None) -> str:
        """What etcdctl, which korat did not write, says."""
        done = subprocess.run(
            [shutil.which("etcdctl"), "--endpoints", self.member.url, *arguments],
            env={**os.environ, "ETCDCTL_API": "3", **(environ or {})},
            check=True,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        return done.stdout


@contextmanager
def running(
    folder: Path, size: int = 1, *, secure: bool = False, options: Sequence[str] = ()
) -> Iterator[World]:
    """An etcd of so many members, gone afterwards with its data."""
    need()
    folder.mkdir(parents=True, exist_ok=True)
    world = World([Member(f"m{n}", folder, secure, options) for n in range(size)])
    try:
        world.start()
        yield world
    finally:
        for member in world.members:
            member.kill()
        shutil.rmtree(folder, ignore_errors=True)


class Wire:
    """A wire to a member that can be cut, or lose what comes back."""

    def __init__(self, member: Member) -> None:
        self._to = member.port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = Endpoint("127.0.0.1", self._listener.getsockname()[1], secure=False)
        self.deaf = False
        self.passed = 0
        self._ends: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Reset every connection there is; new ones are accepted."""
        ends, self._ends = self._ends, []
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def lead_to(self, member: Member) -> None:
        """End at another member from now on."""
        self._to = member.port
        self.cut()

    def close(self) -> None:
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._to), timeout=5)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            self._ends += [near, far]
            for source, sink, back in ((near, far, False), (far, near, True)):
                run = threading.Thread(target=self._carry, args=(source, sink, back), daemon=True)
                run.start()

    def _carry(self, source: socket.socket, sink: socket.socket, back: bool) -> None:
        try:
            while data := source.recv(65536):
                if back and self.deaf:
                    continue
                self.passed += len(data)
                sink.sendall(data)
        except OSError:
            pass
        finally:
            for end in (source, sink):
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
            source.close()


@contextmanager
def wire(member: Member) -> Iterator[Wire]:
    """A wire in front of a member."""
    laid = Wire(member)
    try:
        yield laid
    finally:
        laid.close()


def put(etcd: Etcd, key: str, value: bytes = b"", lease: int = 0) -> int:
    """Write a key, whatever is there; its revision."""
    return etcd.txn((), [Put(key, value, lease)]).revision


def follow(watch: EtcdWatch, until: int) -> list[Change]:
    """Every change up to a revision."""
    changes: list[Change] = []
    deadline = time.monotonic() + PATIENCE_S
    while not changes or changes[-1].revision < until:
        assert time.monotonic() < deadline
        changes += watch.poll(0.5)
    return changes

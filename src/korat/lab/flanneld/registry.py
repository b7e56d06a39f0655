"""The leases in etcd, by Debian's ``etcdctl``."""

import base64
import contextlib
import json
import os
import select
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from korat.core.errors import Conflict
from korat.lab.flanneld.contract import Lease, Network, free, key_of, lease_of
from korat.lab.flanneld.program import ENVIRON, find, run

LEASE_S = 24 * 60 * 60

_RACES = 10
_SOME_BYTES = 1 << 16


class Events:
    """A running watch. What it prints is not read: it only says that something has changed."""

    def __init__(self, printed: int) -> None:
        self._printed = printed

    def wait(self, seconds: float) -> bool:
        """Sleep until something changes or the time is over; False when the watch has ended."""
        ready, _, _ = select.select([self._printed], [], [], max(seconds, 0))
        return not ready or bool(os.read(self._printed, _SOME_BYTES))


@dataclass(frozen=True, slots=True)
class Registry:
    """flannel's keys under ``prefix``; each method raises Unavailable when etcd does not answer."""

    endpoints: str
    prefix: str

    def config(self) -> str | None:
        """The network's configuration, None while there is none."""
        found = self._json("get", f"{self.prefix}/config")
        return next((_text(each, "value") for each in found.get("kvs", ())), None)

    def leases(self) -> tuple[int, Sequence[Lease]]:
        """The revision of etcd that was read, and the leases at it."""
        found = self._json("get", "--prefix", f"{self.prefix}/subnets")
        leases = (
            lease_of(_text(each, "key"), _text(each, "value")) for each in found.get("kvs", ())
        )
        return int(found["header"]["revision"]), [each for each in leases if each is not None]

    def create(self, subnet: IPv4Network, value: str) -> bool:
        """Take a subnet for a day; False when somebody else has it already."""
        key, lease = key_of(self.prefix, subnet), self._grant()
        # The three parts of a transaction each end with an empty line; JSON's quotes are Go's.
        put = f"put --lease={lease} {key} {json.dumps(value)}"
        told = self._json("txn", text=f'ver("{key}") = "0"\n\n{put}\n\n\n')
        if told.get("succeeded"):
            return True
        self._json("lease", "revoke", lease)
        return False

    def renew(self, subnet: IPv4Network, value: str) -> None:
        """Put one's own lease again, for another day."""
        self._json("put", f"--lease={self._grant()}", key_of(self.prefix, subnet), value)

    def acquire(
        self,
        network: Network,
        public_ip: IPv4Address,
        value: str,
        previous: IPv4Network | None,
        draw: Callable[[Sequence[IPv4Network]], IPv4Network],
    ) -> IPv4Network:
        """A subnet for ``public_ip``: the one it has, else the previous one, else one drawn.

        Raises:
            Conflict: no subnet is free, or others were faster again and again.
        """
        for _ in range(_RACES):
            _, leases = self.leases()
            mine = next((lease for lease in leases if lease.public_ip == public_ip), None)
            if mine and network.fits(mine.subnet):
                self.renew(mine.subnet, value)
                return mine.subnet
            if mine:
                self._json("del", mine.key)
            kept = previous if previous and network.fits(previous) else None
            if kept and kept not in [lease.subnet for lease in leases]:
                subnet = kept
            elif left := free(network, leases):
                subnet = draw(left)
            else:
                raise Conflict(f"no subnet of {network.network} is free")
            if self.create(subnet, value):
                return subnet
        raise Conflict(f"others took each subnet of {network.network} first", "try again")

    @contextlib.contextmanager
    def watch(self, revision: int) -> Iterator[Events]:
        """Be told of every change of a lease from ``revision`` on."""
        etcdctl = (find("etcdctl"), f"--endpoints={self.endpoints}")
        watch = (*etcdctl, "watch", f"--rev={revision}", "--prefix", f"{self.prefix}/subnets")
        # Through the lab's launcher, so that it ends with this process, however that ends.
        launcher = (sys.executable, "-m", "korat.lab.process", str(os.getpid()), "-")
        kept = {name: each for name, each in os.environ.items() if name[:8] != "ETCDCTL_"}
        with subprocess.Popen(
            (*launcher, *watch),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env=kept | ENVIRON,
        ) as child:
            try:
                assert child.stdout is not None  # noqa: S101 - Popen promises it for PIPE
                yield Events(child.stdout.fileno())
            finally:
                child.kill()

    def _grant(self) -> str:
        return f"{int(self._json('lease', 'grant', str(LEASE_S))['ID']):x}"

    def _json(self, *words: str, text: str = "") -> Mapping[str, Any]:
        said = run("etcdctl", f"--endpoints={self.endpoints}", "-w", "json", *words, text=text)
        found = json.loads(said)
        return found if isinstance(found, dict) else {}


def _text(pair: Mapping[str, str], name: str) -> str:
    return base64.b64decode(pair.get(name, "")).decode(errors="replace")

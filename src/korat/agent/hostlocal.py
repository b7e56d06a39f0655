r"""host-local's reservations as files, in the very format of containernetworking's host-local.

One folder per network: a file per address, named as the address, that holds
``<container id>\r\n<ifname>``; ``last_reserved_ip.<n>`` for each range set; everything under an
exclusive ``flock`` on ``lock``. The real host-local may use the same folder at the same time.
Not for which address is next; ``korat.core.ipam.hostlocal`` says that.
Source: containernetworking/plugins, plugins/ipam/host-local/backend/disk.
"""

import contextlib
import fcntl
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from korat.agent.address_source import AddressRequest
from korat.core.errors import Invalid, Problem, Unavailable
from korat.core.ipam.hostlocal import Owner, RangeSet, State, assign, range_sets
from korat.core.net.address import Addr, Prefix

DATA_DIR = "/var/lib/cni/networks"

_LAST = "last_reserved_ip."
_LOCK = "lock"
#: Whoever may open the lock, even to read, may hold it, and no pod would start or end any more.
_LOCK_MODE = 0o600


class Reservations:
    """The addresses given out in one network on this node."""

    def __init__(self, network: str, data_dir: str = DATA_DIR) -> None:
        self._folder = _checked_folder(network, data_dir)

    def assign(
        self,
        sets: Sequence[RangeSet],
        owner: Owner,
        requested: Collection[Addr] = (),
        heir_of: Owner | None = None,
    ) -> tuple[Addr, ...]:
        """Reserve one address of each set; what the owner, or whom it follows, has is kept.

        Raises:
            Unavailable: a set has no free address, or the folder cannot be used.
            Conflict, Invalid: a requested address cannot be had.
        """
        with self._locked():
            state = self._state()
            if heir_of is not None:
                state = self._inherit(state, heir_of, owner)
            addrs = assign(sets, state, owner, requested)
            for place, addr in enumerate(addrs):
                if addr not in state.held:
                    self._write(str(addr), f"{owner.container_id}\r\n{owner.ifname}")
                    self._write(f"{_LAST}{place}", str(addr))
            return addrs

    def release(self, owner: Owner) -> tuple[Addr, ...]:
        """Free what the owner holds and return it; empty when it holds nothing."""
        with self._locked():
            addrs = self._state().of(owner)
            for addr in addrs:
                (self._folder / str(addr)).unlink(missing_ok=True)
            return addrs

    def held(self) -> Mapping[Addr, Owner]:
        """Who holds what."""
        with self._locked():
            return self._state().held

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            fd = os.open(self._folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _LOCK_MODE)
        except OSError as error:
            raise Unavailable(f"{self._folder} cannot be used: {error.strerror}") from error
        try:
            os.fchmod(fd, _LOCK_MODE)
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        except OSError as error:
            raise Unavailable(f"{self._folder} cannot be used: {error.strerror}") from error
        finally:
            os.close(fd)

    def _state(self) -> State:
        held: dict[Addr, Owner] = {}
        last: dict[int, Addr] = {}
        with os.scandir(self._folder) as entries:
            for entry in entries:
                addr = _address(entry.name)
                if addr is not None:
                    held[addr] = _owner(Path(entry.path))
                elif entry.name.startswith(_LAST) and entry.name[len(_LAST) :].isdecimal():
                    recent = _address(Path(entry.path).read_text(errors="replace").strip())
                    if recent is not None:
                        last[int(entry.name[len(_LAST) :])] = recent
        return State(held, last)

    def _inherit(self, state: State, old: Owner, new: Owner) -> State:
        held = dict(state.held)
        for addr in state.of(old):
            self._write(str(addr), f"{new.container_id}\r\n{new.ifname}")
            held[addr] = new
        return State(held, state.last)

    def _write(self, name: str, text: str) -> None:
        # Renamed into place, so that a crash never leaves an address without its owner.
        unfinished = self._folder / f".{name}.new"
        with unfinished.open("w", newline="", encoding="ascii") as file:
            file.write(text)
        unfinished.replace(self._folder / name)


class HostLocal:
    """The host-local IPAM plugin, in process: what a configuration's ``ipam`` part asks for."""

    def __init__(self, pod_cidrs: Callable[[], Sequence[Prefix]]) -> None:
        self._pod_cidrs = pod_cidrs

    def assign(self, request: AddressRequest) -> tuple[Addr, ...]:
        """Addresses for one interface; the same again when it asks again.

        Raises:
            Invalid: the configuration or a requested address is wrong.
            Unavailable: no address is free, or the node has no pod CIDR yet.
            Conflict: a requested address is another's.
        """
        sets = self._sets(request.ipam)
        files = self._files(request.network, request.ipam)
        return files.assign(sets, request.owner, request.requested, request.heir_of)

    def release(self, request: AddressRequest) -> tuple[Addr, ...]:
        """Free an interface's addresses and return them; needs no pod CIDR."""
        return self._files(request.network, request.ipam).release(request.owner)

    def of(self, network: str, ipam: Mapping[str, object], owner: Owner) -> tuple[Addr, ...]:
        """An interface's addresses."""
        held = self._files(network, ipam).held()
        return tuple(sorted(addr for addr, holder in held.items() if holder == owner))

    def owners(self, network: str, ipam: Mapping[str, object]) -> frozenset[Owner]:
        """Everybody who has an address of the network on this node."""
        return frozenset(self._files(network, ipam).held().values())

    def check(self, ipam: Mapping[str, object]) -> None:
        """Raise what an ``assign`` would for the configuration's or the node's sake.

        Raises:
            Invalid: the configuration is wrong.
            Unavailable: the node has no pod CIDR yet.
        """
        self._sets(ipam)

    def _sets(self, ipam: Mapping[str, object]) -> tuple[RangeSet, ...]:
        return range_sets(ipam, self._pod_cidrs())

    def _files(self, network: str, ipam: Mapping[str, object]) -> Reservations:
        data_dir = ipam.get("dataDir") or DATA_DIR
        return Reservations(network, str(data_dir))


def _checked_folder(network: str, data_dir: str) -> Path:
    """The network's folder; both parts come from a configuration and are not believed."""
    path = PurePosixPath(data_dir)
    if not path.is_absolute() or ".." in path.parts:
        raise Invalid([Problem("", "ipam.dataDir", data_dir, "is not an absolute path")])
    if network in ("", ".", "..") or "/" in network or "\0" in network:
        raise Invalid([Problem("", "name", network, "cannot be the name of a folder")])
    return Path(path) / network


def _address(text: str) -> Addr | None:
    try:
        return Addr.parse(text)
    except ValueError:
        return None


def _owner(path: Path) -> Owner:
    """Who wrote the file; older host-locals wrote no interface, and that matches none."""
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        container_id, _, ifname = file.read(4096).strip().partition("\r\n")
    return Owner(container_id, ifname)

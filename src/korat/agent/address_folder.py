r"""A folder of this node with a file per address that is given out, under one lock.

A file is named as the address and holds ``<container id>\r\n<ifname>``, as host-local writes it,
and maybe more lines of whoever gives the addresses out; the lock is an exclusive ``flock`` on
``lock``, so that threads and processes take turns. Not for which address is next.
Source: containernetworking/plugins, plugins/ipam/host-local/backend/disk.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from korat.core.errors import Invalid, Problem, Unavailable
from korat.core.net.address import Addr

_LOCK = "lock"
#: Whoever may open the lock, even to read, may hold it, and no pod would start or end any more.
_LOCK_MODE = 0o600
_BYTES_MAX = 4096


class AddressFolder:
    """Who has which address, in files; all but ``locked`` is for who holds the lock."""

    def __init__(self, data_dir: str, network: str, *, durable: bool = False) -> None:
        """``durable`` writes outlast a machine that loses its power, for some milliseconds each.

        Raises:
            Invalid: the folder is not an absolute path, or the network no name of a folder.
        """
        self.path = _checked(data_dir, network)
        self._durable = durable

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Wait for the others, and keep them waiting.

        Raises:
            Unavailable: the folder cannot be used.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            fd = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _LOCK_MODE)
        except OSError as error:
            raise Unavailable(f"{self.path} cannot be used: {error.strerror}") from error
        try:
            os.fchmod(fd, _LOCK_MODE)
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        except OSError as error:
            raise Unavailable(f"{self.path} cannot be used: {error.strerror}") from error
        finally:
            os.close(fd)

    def names(self) -> list[str]:
        """Every file's name."""
        with os.scandir(self.path) as entries:
            return [entry.name for entry in entries]

    def lines(self, name: str) -> list[str]:
        """The lines of an address's file."""
        with (self.path / name).open(newline="", encoding="utf-8", errors="replace") as file:
            return file.read(_BYTES_MAX).strip().split("\r\n")

    def put(self, name: str, text: str) -> None:
        """Write a file; renamed into place, so that a crash leaves the old or the new, whole."""
        unfinished = self.path / f".{name}.new"
        with unfinished.open("w", newline="", encoding="utf-8") as file:
            file.write(text)
            if self._durable:
                file.flush()
                os.fsync(file.fileno())
        unfinished.replace(self.path / name)
        self._sync()

    def remove(self, name: str) -> None:
        """Take a file away, if it is there."""
        (self.path / name).unlink(missing_ok=True)
        self._sync()

    def _sync(self) -> None:
        if not self._durable:
            return
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def address_of(name: str) -> Addr | None:
    """The address that a file is named as; None for other files."""
    try:
        return Addr.parse(name)
    except ValueError:
        return None


def _checked(data_dir: str, network: str) -> Path:
    """The network's folder; both parts come from a configuration and are not believed."""
    path = PurePosixPath(data_dir)
    if not path.is_absolute() or ".." in path.parts:
        raise Invalid([Problem("", "ipam.dataDir", data_dir, "is not an absolute path")])
    if network in ("", ".", "..") or "/" in network or "\0" in network:
        raise Invalid([Problem("", "name", network, "cannot be the name of a folder")])
    return Path(path) / network

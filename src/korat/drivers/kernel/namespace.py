"""Named network namespaces, and doing things inside them without leaving one's own.

A namespace is a file under ``/run/netns``, as ``ip netns`` makes them, so that both see each
other's. Work inside one runs on a fresh thread that enters it and then ends: the caller's namespace
never changes, and it costs about a tenth of a millisecond. A program started from such a thread
is born inside the namespace: ``run_in(name, lambda: subprocess.Popen(argv))``.

Not for interfaces or addresses: those are netlink's.

Source: setns(2), network_namespaces(7), and the file layout of iproute2's ip-netns(8).
"""

import ctypes
import errno
import fcntl
import os
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import TypeVar

from korat.core.errors import (
    Conflict,
    Invalid,
    KoratError,
    NotFound,
    Problem,
    Unavailable,
    Unsupported,
)

RUN_DIR = Path("/run/netns")

_CLONE_NEWNET = 0x4000_0000
_MS_BIND, _MS_REC, _MS_SHARED = 0x1000, 0x4000, 0x10_0000
_MNT_DETACH = 2
_OWN = Path("/proc/thread-self/ns/net")

_libc = ctypes.CDLL(None, use_errno=True)
_T = TypeVar("_T")


def create(name: str) -> Path:
    """Make the namespace and return its path.

    Raises:
        Conflict: a namespace of that name is there.
        Unsupported: not root.
    """
    path = _own_path(name)
    with _errors(name):
        RUN_DIR.mkdir(parents=True, exist_ok=True)
        _share_run_dir()
        if exists(name):
            raise Conflict(f"network namespace {name} exists already")
        # A file without a namespace on it is what a creator killed half-way left: take it over.
        path.touch(mode=0)
        _in_thread(lambda: _bind_new_namespace(path))
    return path


def remove(name: str) -> None:
    """Remove the namespace's name; the namespace goes with its last process. Missing is fine."""
    path = _own_path(name)
    with _errors(name):
        if not path.exists():
            return
        try:
            _call("umount2", os.fsencode(path), _MNT_DETACH)
        except OSError as error:
            if error.errno != errno.EINVAL:  # not a mount: a creator killed half-way
                raise
        path.unlink(missing_ok=True)


def exists(name: str) -> bool:
    """Whether a namespace of that name is there."""
    try:
        return path_of(name).stat().st_dev == _OWN.stat().st_dev
    except FileNotFoundError:
        return False


def names(prefix: str = "") -> tuple[str, ...]:
    """The namespaces whose name begins so, sorted; half-made ones too."""
    if not RUN_DIR.is_dir():
        return ()
    return tuple(sorted(p.name for p in RUN_DIR.iterdir() if p.name.startswith(prefix)))


def path_of(name_or_path: str | Path) -> Path:
    """The file of a namespace: a bare name lies under ``/run/netns``, a path is itself."""
    # Joining keeps the right side alone when it is absolute.
    return RUN_DIR / name_or_path


def run_in(name_or_path: str | Path, function: Callable[[], _T]) -> _T:
    """Call ``function`` on a fresh thread inside the namespace and return what it returns.

    Whatever it raises is raised here.

    Raises:
        NotFound: no such namespace.
        Unsupported: not root.
    """

    def inside() -> _T:
        enter(name_or_path)
        return function()

    return _in_thread(inside)


def run_in_new(function: Callable[[], _T]) -> _T:
    """Call ``function`` inside a namespace without a name, which goes with the call.

    Nothing is left, also when this process is killed.

    Raises:
        Unsupported: not root, or the kernel has no network namespaces.
    """

    def inside() -> _T:
        with _errors("of its own"):
            _call("unshare", _CLONE_NEWNET)
        return function()

    return _in_thread(inside)


def enter(name_or_path: str | Path) -> None:
    """Move the calling thread into the namespace for good: for a thread or process about to exec.

    Raises:
        NotFound: no such namespace.
        Unsupported: not root.
    """
    with _errors(str(name_or_path)):
        fd = os.open(path_of(name_or_path), os.O_RDONLY | os.O_CLOEXEC)
        try:
            _call("setns", fd, _CLONE_NEWNET)
        finally:
            os.close(fd)


def socket_in(
    name_or_path: str | Path,
    family: int = socket.AF_INET,
    kind: int = socket.SOCK_STREAM,
    proto: int = 0,
) -> socket.socket:
    """Open a socket that lives inside the namespace, wherever it is used from."""
    return run_in(name_or_path, lambda: socket.socket(family, kind, proto))


def _own_path(name: str) -> Path:
    """The file below ``RUN_DIR`` that making and removing may touch, and no other."""
    if not name or name in {".", ".."} or "/" in name:
        raise Invalid([Problem("network namespace", "", name, "a name is one part of a path")])
    return RUN_DIR / name


def _in_thread(function: Callable[[], _T]) -> _T:
    outcome: Future[_T] = Future()

    def body() -> None:
        try:
            outcome.set_result(function())
        except BaseException as error:  # noqa: BLE001 - carried to the caller, who sees all of it
            outcome.set_exception(error)

    thread = Thread(target=body, name="netns")
    thread.start()
    thread.join()
    return outcome.result()


def _bind_new_namespace(path: Path) -> None:
    _call("unshare", _CLONE_NEWNET)
    try:
        _call("mount", os.fsencode(_OWN), os.fsencode(path), b"none", _MS_BIND, None)
    except OSError:
        path.unlink(missing_ok=True)
        raise


def _share_run_dir() -> None:
    """Make the directory a shared mount, so that other mount namespaces see names come and go."""
    run_dir = os.fsencode(RUN_DIR)
    fd = os.open(RUN_DIR, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)  # as ip-netns does: two first creators mount it once
        try:
            _call("mount", b"", run_dir, b"none", _MS_SHARED | _MS_REC, None)
        except OSError as error:
            if error.errno != errno.EINVAL:  # not a mount point yet
                raise
            _call("mount", run_dir, run_dir, b"none", _MS_BIND | _MS_REC, None)
            _call("mount", b"", run_dir, b"none", _MS_SHARED | _MS_REC, None)
    finally:
        os.close(fd)


def _call(function: str, *args: object) -> None:
    if getattr(_libc, function)(*args) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{function}: {os.strerror(code)}")


@contextmanager
def _errors(name: str) -> Iterator[None]:
    """Turn the kernel's refusals into korat's."""
    try:
        yield
    except PermissionError as error:
        raise Unsupported(
            f"network namespace {name} needs root", "run as root, with CAP_SYS_ADMIN"
        ) from error
    except FileNotFoundError as error:
        raise NotFound(f"network namespace {name} does not exist") from error
    except OSError as error:
        raise _other(name, error) from error


def _other(name: str, error: OSError) -> KoratError:
    if error.errno in {errno.ENOSYS, errno.EINVAL}:
        return Unsupported(f"{name} is not a network namespace this kernel can use: {error}")
    return Unavailable(f"network namespace {name}: {error}")

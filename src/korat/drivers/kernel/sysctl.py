"""Network settings of the kernel, read and written through ``/proc/sys`` inside a namespace.

A key is written with slashes, ``net/ipv4/conf/eth0/rp_filter``, because interface names may hold
dots. Only keys below ``net`` exist here: those alone belong to a network namespace.

Source: the kernel's Documentation/networking/ip-sysctl.rst.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from korat.core.errors import Invalid, Problem, Unsupported
from korat.drivers.kernel import namespace

_ROOT = Path("/proc/sys")
_PART = re.compile(r"[A-Za-z0-9_:@-][A-Za-z0-9_.:@-]*")


def read(key: str, name_or_path: str | Path | None = None) -> str:
    """The value of a setting in the namespace, or in the caller's own.

    Raises:
        Invalid: the key is not one below ``net``.
        Unsupported: this kernel has no such setting.
    """
    path = _path(key)

    def inside() -> str:
        try:
            return path.read_text().strip()
        except OSError as error:
            raise _refused(key, "read", error) from error

    return inside() if name_or_path is None else namespace.run_in(name_or_path, inside)


def write(settings: Mapping[str, object], name_or_path: str | Path | None = None) -> None:
    """Set all of these in the namespace, or in the caller's own, in the order given.

    Raises:
        Invalid: a key is not one below ``net``.
        Unsupported: this kernel has no such setting, refuses the value, or wants root.
    """
    writes = [(key, _path(key), str(value)) for key, value in settings.items()]

    def inside() -> None:
        for key, path, value in writes:
            try:
                path.write_text(value)
            except OSError as error:
                raise _refused(key, f"set to {value}", error) from error

    if name_or_path is None:
        inside()
    else:
        namespace.run_in(name_or_path, inside)


def _path(key: str) -> Path:
    parts = key.split("/")
    if parts[0] != "net" or len(parts) == 1 or not all(_PART.fullmatch(part) for part in parts):
        rule = "a network setting is written like net/ipv4/conf/eth0/rp_filter"
        raise Invalid([Problem("sysctl", "", key, rule)])
    return _ROOT.joinpath(*parts)


def _refused(key: str, what: str, error: OSError) -> Unsupported:
    if isinstance(error, FileNotFoundError):
        return Unsupported(f"sysctl {key}: this kernel or namespace has no such setting")
    if isinstance(error, PermissionError):
        return Unsupported(f"sysctl {key} cannot be {what} without root", "run as root")
    return Unsupported(f"sysctl {key} cannot be {what}: {error.strerror}")

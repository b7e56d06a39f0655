"""Puts the plugin where a container runtime looks for it: the program and its configuration.

The program is a launcher of a few lines for the Python that runs now, isolated from the
environment and the site packages. Not for the plugin's work, and not imported by it.
"""

import json
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from korat.cni.request import DEFAULT_SOCKET

PLUGIN = "korat"
CONFLIST = "10-korat.conflist"

# The kernel reads 256 bytes of a script's first line (127 before 5.1) and splits it at spaces.
_MAX_SHEBANG_BYTES = 127

# The folder of the package goes last: it may be site-packages, and nothing there may stand in for
# a module of the standard library.
_LAUNCHER = """\
#!{python} -IS
import sys
sys.path.append({folder!r})
from korat.cni.main import main
sys.exit(main())
"""

#: The ``ipam`` part by its type: addresses from the node's podCIDR, or from Calico's pools.
IPAM: Mapping[str, Mapping[str, object]] = {
    "host-local": {"type": "host-local", "subnet": "usePodCidr"},
    "calico-ipam": {"type": "calico-ipam"},
}

#: Without an MTU the agent takes what the networking option has room for.
_DEFAULTS: Mapping[str, object] = {
    "mtu": 0,
    "ipam": IPAM["host-local"],
    "agent_socket": DEFAULT_SOCKET,
}


def install(
    bin_dir: Path,
    net_dir: Path,
    options: Mapping[str, object] | None = None,
    *,
    network: str = "k8s-pod-network",
    version: str = "1.0.0",
) -> tuple[Path, Path]:
    """Write the plugin and its network configuration, each in one step; returns both paths.

    ``options`` are keys of the plugin's own configuration; they replace the defaults. The program
    comes first: a runtime acts as soon as it sees the configuration.

    Raises:
        ValueError: this Python's path cannot stand in a script's first line.
        OSError: a folder cannot be written.
    """
    program = bin_dir / PLUGIN
    conflist = net_dir / CONFLIST
    _write(program, launcher(sys.executable), 0o755)
    plugin = {"type": PLUGIN, **_DEFAULTS, **(options or {})}
    listed = {"cniVersion": version, "name": network, "plugins": [plugin]}
    _write(conflist, json.dumps(listed, indent=2) + "\n", 0o644)
    return program, conflist


def launcher(python: str) -> str:
    """The program's text for this Python.

    Raises:
        ValueError: the path cannot stand in a script's first line.
    """
    if (
        any(c.isspace() for c in python)
        or len(python.encode()) + len("#! -IS") > _MAX_SHEBANG_BYTES
    ):
        raise ValueError(
            f"{python!r} cannot stand in a script's first line: it has a space or is too long;"
            " put korat's environment at a shorter path"
        )
    return _LAUNCHER.format(python=python, folder=str(Path(__file__).resolve().parents[2]))


def _write(path: Path, text: str, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fd, unfinished = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(text)
            os.fchmod(file.fileno(), mode)
        Path(unfinished).replace(path)
    except OSError:
        Path(unfinished).unlink(missing_ok=True)
        raise

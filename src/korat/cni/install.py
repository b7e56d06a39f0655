"""Puts the plugins where a container runtime looks for them: the programs and their configuration.

Each program is a launcher of a few lines for the Python that runs now, isolated from the
environment and the site packages. Not for the plugin's work, and not imported by it.
"""

import json
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from korat.cni import conflist_text
from korat.cni.request import DEFAULT_SOCKET, PLUGIN, POLICY_PLUGIN

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
sys.exit(main({program!r}))
"""

#: The ``ipam`` part by its type: addresses from the node's podCIDR, from Calico's pools, of the
#: VM's NIC by korat, or of the same by Azure's own plugin.
IPAM: Mapping[str, Mapping[str, object]] = {
    "host-local": {"type": "host-local", "subnet": "usePodCidr"},
    "calico-ipam": {"type": "calico-ipam"},
    "korat-azure-ipam": {"type": "korat-azure-ipam"},
    "azure-vnet-ipam": {"type": "azure-vnet-ipam"},
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
    """Write the plugins and the network configuration, each in one step; returns both paths.

    ``options`` are keys of the plugin's own configuration; they replace the defaults. The program
    comes first: a runtime acts as soon as it sees the configuration.

    Raises:
        ValueError: this Python's path cannot stand in a script's first line.
        OSError: a folder cannot be written.
    """
    conflist = net_dir / CONFLIST
    program = _install_programs(bin_dir)
    plugin = {"type": PLUGIN, **_DEFAULTS, **(options or {})}
    listed = {"cniVersion": version, "name": network, "plugins": [plugin]}
    _write(conflist, json.dumps(listed, indent=2) + "\n", 0o644)
    return program, conflist


def install_policy(
    bin_dir: Path, net_dir: Path, conflist: Path | None = None, socket: str = DEFAULT_SOCKET
) -> Path:
    """Write the programs, and policy into a list that is there, after its first plugin.

    Without ``conflist`` the first list of ``net_dir`` is taken, as runtimes do; returns its path.
    Nothing else of it changes, and nothing at all when it has been done before.

    Raises:
        ValueError: there is no list, or it is none that the plugin can be put into.
        OSError: a folder cannot be written.
    """
    found = (conflist or _first_list(net_dir)).resolve()
    before = found.read_text(encoding="utf-8")
    entry = {"type": POLICY_PLUGIN}
    if socket != DEFAULT_SOCKET:
        entry["agent_socket"] = socket
    try:
        after = conflist_text.with_second_plugin(before, entry)
    except ValueError as error:
        raise ValueError(f"{found} {error}") from error
    _install_programs(bin_dir)
    if after != before:
        _write(found, after, found.stat().st_mode & 0o777)
    return found


def _first_list(net_dir: Path) -> Path:
    found = sorted(net_dir.glob("*.conflist"))
    if not found:
        raise ValueError(
            f"{net_dir} has no list of CNI plugins (*.conflist): install the plugin that makes"
            " the pods' network first"
        )
    return found[0]


def _install_programs(bin_dir: Path) -> Path:
    """Both, for both are the same code; returns the main one's path."""
    for program in (POLICY_PLUGIN, PLUGIN):
        _write(bin_dir / program, launcher(sys.executable, program), 0o755)
    return bin_dir / PLUGIN


def launcher(python: str, program: str = PLUGIN) -> str:
    """The text of a program of this name, for this Python.

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
    folder = str(Path(__file__).resolve().parents[2])
    return _LAUNCHER.format(python=python, folder=folder, program=program)


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

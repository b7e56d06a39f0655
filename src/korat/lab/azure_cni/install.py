"""Puts the stand-ins, and policy behind them, where a node's container runtime looks for plugins.

Not for wiring them into a lab.
Source: the list that Azure ships as 10-azure.conflist.
"""

import json
import sys
from pathlib import Path

from korat.cni.install import install_policy
from korat.lab.azure_cni import vnet, vnet_ipam

CONFLIST = "10-azure.conflist"

_LAUNCHER = """\
#!{python} -IS
import sys
sys.path.append({folder!r})
from {module} import main
sys.exit(main({state!r}))
"""

_LIST = {
    "cniVersion": "0.3.0",
    "name": "azure",
    "plugins": [
        {
            "type": vnet.NAME,
            "mode": "transparent",
            "ipsToRouteViaHost": ["169.254.20.10"],
            "ipam": {"type": vnet_ipam.NAME},
        }
    ],
}


def install_programs(bin_dir: Path, state_dir: Path) -> None:
    """Write azure-vnet and azure-vnet-ipam, which keep their state in this folder.

    Raises:
        OSError: a folder cannot be written.
    """
    bin_dir.mkdir(parents=True, exist_ok=True)
    folder = str(Path(__file__).resolve().parents[3])
    for module in (vnet_ipam, vnet):
        text = _LAUNCHER.format(
            python=sys.executable, folder=folder, module=module.__name__, state=str(state_dir)
        )
        program = bin_dir / module.NAME
        program.write_text(text)
        program.chmod(0o755)


def install(bin_dir: Path, net_dir: Path, state_dir: Path, agent_socket: str) -> Path:
    """Write both programs and the list, with korat's policy in it; returns the list's path.

    ``state_dir`` is the node's own, and goes when it boots: so it is with ``/var/run``.

    Raises:
        ValueError: this Python's path cannot stand in a script's first line.
        OSError: a folder cannot be written.
    """
    install_programs(bin_dir, state_dir)
    net_dir.mkdir(parents=True, exist_ok=True)
    conflist = net_dir / CONFLIST
    # A runtime reads only *.conflist, so that it never sees a list without policy.
    unfinished = net_dir / f".{CONFLIST}.unfinished"
    unfinished.write_text(json.dumps(_LIST, indent=2) + "\n")
    install_policy(bin_dir, net_dir, unfinished, agent_socket)
    return unfinished.replace(conflist)

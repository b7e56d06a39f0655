"""flannel's etcd in the lab: a real one, on a virtual machine that is no node.

It is Debian's, reached over the fabric as in a cluster whose control plane is elsewhere. It has
neither TLS nor passwords, since nobody but the lab's own namespaces can reach it.
"""

import json
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from korat.core.errors import Unavailable
from korat.core.net.address import Prefix
from korat.drivers.kernel.namespace import path_of
from korat.lab.blueprint import Vm
from korat.lab.process import Child

ENDPOINT_PORT = 2379
#: Where flannel keeps its configuration unless it is told otherwise.
CONFIG_KEY = "/coreos.com/network/config"
#: What it takes, and Debian's package of each.
PROGRAMS = {"etcd": "etcd-server", "etcdctl": "etcd-client"}

_START_S = 20.0
_CALL_S = 5.0
_LOOK_S = 0.05
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


def endpoint(vm: Vm) -> str:
    """Where nodes reach it."""
    return f"http://{vm.address}:{ENDPOINT_PORT}"


def command(vm: Vm, data: Path) -> list[str]:
    """What starts it in its machine's namespace."""
    return [
        shutil.which("etcd") or "etcd",
        f"--name={vm.name}",
        f"--data-dir={data}",
        f"--listen-client-urls={endpoint(vm)}",
        f"--advertise-client-urls={endpoint(vm)}",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--log-level=warn",
    ]


def furnish(vm: Vm, netns: str, network: Prefix, server: Child) -> None:
    """Write flannel's configuration as soon as etcd answers, as a cluster's founder does.

    The outer MTU is what Azure's fabric carries in one piece.

    Raises:
        Unavailable: ``server`` ended, or does not answer in time; with its last words.
    """
    config = {
        "Network": str(network),
        "EnableNFTables": True,  # a real flanneld then needs no iptables
        "Backend": {"Type": "vxlan", "MTU": 1400},
    }
    deadline = time.monotonic() + _START_S
    words = ["put", CONFIG_KEY, json.dumps(config)]
    while (said := _etcdctl(vm, netns, words)) is not None:
        if server.exit_code is not None:
            raise Unavailable(f"etcd ended: {server.last_words()}")
        if time.monotonic() > deadline:
            raise Unavailable(f"etcd does not answer at {endpoint(vm)}: {said}")
        time.sleep(_LOOK_S)


def _etcdctl(vm: Vm, netns: str, words: Sequence[str]) -> str | None:
    """Run it in the namespace; None when it went well, else what it said."""
    program = shutil.which("etcdctl") or "etcdctl"
    environ: Mapping[str, str] = {"PATH": _PATH, "ETCDCTL_API": "3"}
    command = ["nsenter", f"--net={path_of(netns)}", program, f"--endpoints={endpoint(vm)}"]
    try:
        done = subprocess.run(
            [*command, *words],
            env=dict(environ),
            capture_output=True,
            text=True,
            timeout=_CALL_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return None if done.returncode == 0 else done.stderr.strip() or "no answer"

"""What the lab starts as a node's flanneld: the stand-in, or a real one."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from korat.core.errors import Invalid, Problem

#: Names a real flanneld to run instead of the stand-in.
REAL = "KORAT_LAB_FLANNELD"


def command(
    environ: Mapping[str, str],
    *,
    etcd_endpoints: str,
    interface: str,
    subnet_file: Path,
    ip_masq: bool = False,
) -> list[str]:
    """What starts a node's flanneld.

    The network's configuration in etcd needs ``"EnableNFTables":true`` for the real one to do
    without iptables and br_netfilter. ``etcd_endpoints`` is a comma-separated list of URLs,
    ``interface`` a name or an IPv4 address.

    Raises:
        Invalid: the variable names no program.
    """
    real = real_flanneld(environ)
    return [
        *([real] if real else [sys.executable, "-m", "korat.lab.flanneld"]),
        f"--etcd-endpoints={etcd_endpoints}",
        f"--iface={interface}",
        f"--subnet-file={subnet_file}",
        f"--ip-masq={'true' if ip_masq else 'false'}",
    ]


def real_flanneld(environ: Mapping[str, str]) -> str:
    """The flanneld that ``KORAT_LAB_FLANNELD`` names; empty for the stand-in.

    Raises:
        Invalid: the variable names no program.
    """
    real = environ.get(REAL, "")
    if real and not (
        Path(real).is_absolute() and Path(real).is_file() and os.access(real, os.X_OK)
    ):
        rule = "must be the absolute path of a flanneld that may be executed"
        raise Invalid([Problem("", REAL, real, rule)], "unset it for the lab's own stand-in")
    return real

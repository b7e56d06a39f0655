"""What this machine must have before a lab touches it, asked for all at once."""

import os
import shutil
from collections.abc import Mapping

from korat.core.errors import Problem, Unsupported
from korat.drivers.kernel import namespace
from korat.drivers.kernel.nft import Nft
from korat.lab import etcd
from korat.lab.azure_cni import iproute
from korat.lab.blueprint import Blueprint
from korat.lab.flanneld import program
from korat.lab.flanneld.launch import real_flanneld
from korat.lab.mode import AZURE_VNET, AZURE_VNET_IPAM, FLANNELD, MIXED


def require_root() -> None:
    """Refuse a user who may not enter namespaces.

    Raises:
        Unsupported: not root.
    """
    if os.geteuid() != 0:
        raise Unsupported("the lab needs root: it lives in network namespaces", "run it with sudo")


def require(plan: Blueprint) -> None:
    """Refuse to begin where the lab could not end.

    Raises:
        Invalid: the environment names a flanneld that is none.
        Unsupported: with everything that is missing, and how to get it.
    """
    require_root()
    missing = [*_missing(), *missing_programs(plan, os.environ)]
    if missing:
        raise Unsupported("\n".join(map(str, missing)))


def missing_programs(plan: Blueprint, environ: Mapping[str, str]) -> list[Problem]:
    """Which programs this lab would run that are not installed.

    Raises:
        Invalid: the environment names a flanneld that is none.
    """
    needed: dict[str, str] = {}
    if plan.etcd is not None:
        needed |= etcd.PROGRAMS
    if plan.options.beside in (FLANNELD, MIXED) and not real_flanneld(environ):
        needed |= program.PROGRAMS
    if plan.options.beside in (AZURE_VNET, AZURE_VNET_IPAM):
        needed |= iproute.PROGRAMS
    return [
        Problem("", name, None, f"is not installed: apt-get install {package}")
        for name, package in sorted(needed.items())
        if shutil.which(name, path=environ.get("PATH")) is None
    ]


def _missing() -> list[Problem]:
    try:
        return namespace.run_in_new(_try_nft)
    except Unsupported as error:
        return [Problem("", "network namespaces", None, str(error))]


def _try_nft() -> list[Problem]:
    try:
        with Nft() as nft:
            nft.require()
    except Unsupported as error:
        return [Problem("", "nftables", None, str(error))]
    return []

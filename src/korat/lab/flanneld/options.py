"""flanneld's flags and ``FLANNELD_*`` variables, as far as the stand-in knows them.

A flag wins over its variable. Both ``-name`` and ``--name`` do, and a switch may carry its value,
as Go's flags have it: ``--ip-masq=false``.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_TRUE = ("1", "t", "T", "true", "TRUE", "True")
_FALSE = ("0", "f", "F", "false", "FALSE", "False")
_DAY_MINUTES = 24 * 60


@dataclass(frozen=True, slots=True)
class Options:
    """What flanneld was asked to do; the margin is in minutes."""

    etcd_endpoints: str
    etcd_prefix: str
    iface: str
    public_ip: str
    ip_masq: bool
    subnet_file: Path
    subnet_lease_renew_margin: int


def parse(arguments: Sequence[str], environ: Mapping[str, str]) -> Options:
    """Read the command line and the variables.

    Raises:
        SystemExit: a flag is unknown or its value wrong; the usage has been printed.
    """
    parser = argparse.ArgumentParser(prog="flanneld", allow_abbrev=False)

    def flag(name: str, default: str, kind: Callable[[str], object], bare: object = None) -> None:
        """One flag; ``bare`` is what it means without a value, where it may be so."""
        variable = "FLANNELD_" + name.upper().replace("-", "_")
        given = environ.get(variable) or default
        nargs = None if bare is None else "?"
        parser.add_argument(
            f"-{name}", f"--{name}", default=given, type=kind, nargs=nargs, const=bare
        )

    flag("etcd-endpoints", "http://127.0.0.1:4001,http://127.0.0.1:2379", str)
    flag("etcd-prefix", "/coreos.com/network", str)
    flag("iface", "", str)
    flag("public-ip", "", str)
    flag("ip-masq", "false", _switch, bare=True)
    flag("subnet-file", "/run/flannel/subnet.env", Path)
    flag("subnet-lease-renew-margin", "60", _margin)
    return Options(**vars(parser.parse_args(arguments)))


def _switch(text: str) -> bool:
    if text not in (*_TRUE, *_FALSE):
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return text in _TRUE


def _margin(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < _DAY_MINUTES:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of minutes from 1 to 1439")
    return int(text)

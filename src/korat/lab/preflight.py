"""What this machine must have before a lab touches it, asked for all at once."""

import os

from korat.core.errors import Problem, Unsupported
from korat.drivers.kernel import namespace
from korat.drivers.kernel.nft import Nft


def require_root() -> None:
    """Refuse a user who may not enter namespaces.

    Raises:
        Unsupported: not root.
    """
    if os.geteuid() != 0:
        raise Unsupported("the lab needs root: it lives in network namespaces", "run it with sudo")


def require() -> None:
    """Refuse to begin where the lab could not end.

    Raises:
        Unsupported: with everything that is missing, and how to get it.
    """
    require_root()
    missing = [str(problem) for problem in _missing()]
    if missing:
        raise Unsupported("\n".join(missing))


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

"""What the controllers of Azure are told by their environment.

KORAT_AZURE_CONFIG           the cloud provider's azure.json, /etc/kubernetes/azure.json by default
KORAT_CLUSTER_CIDR           the cluster's pod CIDRs, separated by commas; required
ROUTE_RECONCILIATION_PERIOD  how often drift is looked for, ``30s`` by default
KORAT_ROUTE_LIMIT            routes per table before a warning, 400 by default
KORAT_READY_FILE             written when all routes are effective
KORAT_AZURE_ROUTES           ``Disabled`` where pods need no routes, as with VXLAN: then no route is
                             read or written, and Azure is asked for the VNet's prefixes only if
                             KORAT_AZURE_CONFIG is set
KORAT_AZURE_ADDRESSES        ``Enabled`` to ask for more addresses for nodes' NICs
KORAT_AZURE_ADDRESS_BATCH    how many are asked for together, 16 by default
KORAT_AZURE_ADDRESS_HEADROOM how many are to be free on each node at least, 8 by default
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from korat.core.errors import Invalid, Problem
from korat.core.net.address import Prefix
from korat.core.route.podcidr import UdrSettings
from korat.core.route.supply import NIC_MOST, SupplySettings
from korat.drivers.azure.config import CloudConfig, load

DEFAULT_CONFIG = "/etc/kubernetes/azure.json"

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)?")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}


@dataclass(frozen=True, slots=True)
class RouteSettings:
    """The controller's settings, checked."""

    cloud: CloudConfig
    udr: UdrSettings
    period_s: float = 30.0
    ready_file: Path | None = None


@dataclass(frozen=True, slots=True)
class AddressSettings:
    """The settings of the controller of NICs' addresses, checked."""

    cloud: CloudConfig
    supply: SupplySettings
    period_s: float = 30.0


def wants_routes(environ: Mapping[str, str]) -> bool:
    """Whether Azure's routes are to be kept.

    Raises:
        Invalid: the environment says neither yes nor no.
    """
    return _enabled(environ, "KORAT_AZURE_ROUTES", "Enabled")


def named_cloud(environ: Mapping[str, str]) -> CloudConfig | None:
    """The cloud configuration, if the environment names one.

    Raises:
        Invalid: with every fault of it.
    """
    path = environ.get("KORAT_AZURE_CONFIG")
    return load(Path(path)) if path else None


def address_settings(environ: Mapping[str, str]) -> AddressSettings | None:
    """The settings from an environment; None where Azure is not to be asked for addresses.

    Raises:
        Invalid: with every variable that is wrong, or every fault of the cloud configuration.
    """
    if not _enabled(environ, "KORAT_AZURE_ADDRESSES", "Disabled"):
        return None
    problems: list[Problem] = []
    batch = _count(environ, "KORAT_AZURE_ADDRESS_BATCH", (16, 1, NIC_MOST - 1), problems)
    headroom = _count(environ, "KORAT_AZURE_ADDRESS_HEADROOM", (8, 0, NIC_MOST - 1), problems)
    period_s = _seconds(environ.get("ROUTE_RECONCILIATION_PERIOD") or "30s", problems)
    if problems:
        raise Invalid(problems)
    cloud = load(Path(environ.get("KORAT_AZURE_CONFIG") or DEFAULT_CONFIG))
    return AddressSettings(cloud, SupplySettings(batch, headroom), period_s)


def _enabled(environ: Mapping[str, str], variable: str, default: str) -> bool:
    word = environ.get(variable) or default
    if word not in ("Enabled", "Disabled"):
        rule = "must be Enabled or Disabled"
        raise Invalid([Problem("environment", variable, word, rule)])
    return word == "Enabled"


def _count(
    environ: Mapping[str, str], variable: str, limits: tuple[int, int, int], problems: list[Problem]
) -> int:
    """A whole number; ``limits`` are the default, the least and the most."""
    default, least, most = limits
    text = environ.get(variable) or str(default)
    if not text.isdecimal() or not least <= int(text) <= most:
        rule = f"must be a number from {least} to {most}"
        problems.append(Problem("environment", variable, text, rule))
        return default
    return int(text)


def route_settings(environ: Mapping[str, str]) -> RouteSettings:
    """The settings from an environment.

    Raises:
        Invalid: with every variable that is wrong, or every fault of the cloud configuration.
    """
    problems: list[Problem] = []
    cidrs = _cidrs(environ.get("KORAT_CLUSTER_CIDR", ""), problems)
    period_s = _seconds(environ.get("ROUTE_RECONCILIATION_PERIOD") or "30s", problems)
    limit = environ.get("KORAT_ROUTE_LIMIT") or "400"
    if not limit.isdecimal():
        problems.append(Problem("environment", "KORAT_ROUTE_LIMIT", limit, "must be a number"))
    if problems:
        raise Invalid(problems)
    cloud = load(Path(environ.get("KORAT_AZURE_CONFIG") or DEFAULT_CONFIG))
    ready = environ.get("KORAT_READY_FILE")
    return RouteSettings(
        cloud,
        UdrSettings(cloud.table_id, cloud.location, cidrs, cloud.placement, int(limit)),
        period_s,
        Path(ready) if ready else None,
    )


def _cidrs(text: str, problems: list[Problem]) -> tuple[Prefix, ...]:
    cidrs: list[Prefix] = []
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        rule = "is not set: name the cluster's pod CIDRs, for stale routes are deleted inside them"
        problems.append(Problem("environment", "KORAT_CLUSTER_CIDR", None, rule))
    for part in parts:
        try:
            cidrs.append(Prefix.parse(part, strict=True))
        except ValueError:
            rule = "must be a CIDR without host bits"
            problems.append(Problem("environment", "KORAT_CLUSTER_CIDR", part, rule))
    return tuple(cidrs)


def _seconds(text: str, problems: list[Problem]) -> float:
    match = _DURATION.fullmatch(text)
    if match is None or float(match[1]) <= 0:
        rule = "must be a duration such as 30s"
        problems.append(Problem("environment", "ROUTE_RECONCILIATION_PERIOD", text, rule))
        return 0.0
    return float(match[1]) * _UNIT_S[match[2]]

"""What the route controller is told by its environment.

KORAT_AZURE_CONFIG           the cloud provider's azure.json, /etc/kubernetes/azure.json by default
KORAT_CLUSTER_CIDR           the cluster's pod CIDRs, separated by commas; required
ROUTE_RECONCILIATION_PERIOD  how often drift is looked for, ``30s`` by default
KORAT_ROUTE_LIMIT            routes per table before a warning, 400 by default
KORAT_READY_FILE             written when all routes are effective
KORAT_AZURE_ROUTES           ``Disabled`` where pods need no routes, as with VXLAN: then nothing of
                             Azure is read or written, and none of the above but the file counts
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from korat.core.errors import Invalid, Problem
from korat.core.net.address import Prefix
from korat.core.route.podcidr import UdrSettings
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


def wants_routes(environ: Mapping[str, str]) -> bool:
    """Whether Azure's routes are to be kept.

    Raises:
        Invalid: the environment says neither yes nor no.
    """
    word = environ.get("KORAT_AZURE_ROUTES") or "Enabled"
    if word not in ("Enabled", "Disabled"):
        rule = "must be Enabled or Disabled"
        raise Invalid([Problem("environment", "KORAT_AZURE_ROUTES", word, rule)])
    return word == "Enabled"


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

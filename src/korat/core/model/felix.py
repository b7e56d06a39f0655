"""The settings of one node's agent: FelixConfiguration and ``FELIX_...``, merged as Calico merges.

From low to high: built-in default, ``default``, the oldest resource whose nodeSelector selects
the node, ``node.<name>``, the environment. A value that is wrong gives the built-in default and
a Problem; so does a documented field that korat does not honour, with the reason.
Source: felix/config and libcalico-go's FelixConfiguration precedence.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from korat.core.errors import Problem
from korat.core.model.config import FelixConfiguration
from korat.core.model.failsafe import INBOUND, OUTBOUND, Failsafe, entries_of, failsafes
from korat.core.model.felix_field import BY_ENVIRONMENT, FIELDS, LOCAL_ONLY, Field, Form
from korat.core.model.resource import Resource
from korat.core.model.validate.config import field_faults
from korat.core.net.address import Addr, Prefix
from korat.core.selector import SelectorError, parse

_PREFIX = "felix_"
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_TRUE = frozenset({"true", "1", "yes", "y", "t"})
_FALSE = frozenset({"false", "0", "no", "n", "f"})


@dataclass(frozen=True, slots=True)
class FelixSettings:
    """What korat honours; the names are Felix' own, the defaults too."""

    interface_prefix: tuple[str, ...] = ("cali",)
    interface_exclude: tuple[str, ...] = ("kube-ipvs0",)
    default_endpoint_to_host_action: str = "Drop"
    disable_conntrack_invalid_check: bool = False
    workload_source_spoofing: str = "Disabled"
    nat_outgoing_exclusions: str = "IPPoolsOnly"
    nat_port_range: tuple[int, int] | None = None
    nat_outgoing_address: Addr | None = None
    log_prefix: str = "calico-packet"
    log_action_rate_limit: str = ""
    log_action_rate_limit_burst: int = 5
    ipv6_support: bool = True
    nftables_filter_deny_action: str = "Drop"
    prometheus_metrics_enabled: bool = False
    prometheus_metrics_host: str = ""
    prometheus_metrics_port: int = 9091
    prometheus_process_metrics_enabled: bool = True
    # korat's own; Calico has nothing like it
    deny_log: bool = True
    deny_log_group: int = 1
    deny_log_rate_limit: str = "10/second"
    deny_log_rate_limit_burst: int = 20
    rejudge_connections: bool = True
    pods_to_wireserver: bool = False
    pods_to_instance_metadata: bool = True
    failsafe_inbound_host_ports: tuple[Failsafe, ...] = INBOUND
    failsafe_outbound_host_ports: tuple[Failsafe, ...] = OUTBOUND
    allow_vxlan_packets_from_workloads: bool = False
    allow_ipip_packets_from_workloads: bool = False
    vxlan_enabled: bool | None = None  # None: when a pool wants it
    vxlan_port: int = 4789
    vxlan_vni: int = 4096
    vxlan_mtu: int = 0  # 0: as the interfaces and the fabric allow
    vxlan_mtu_v6: int = 0
    mtu_iface_pattern: str = "^((en|wl|ww|sl|ib)[Pcopsvx].*|(eth|wlan|wwan).*)"
    route_refresh_s: float = 90.0  # 0: never
    routes_of_workloads: bool = False  # routeSource WorkloadIPs; else Calico's blocks say them
    external_nodes: tuple[Prefix, ...] = ()
    layer2_subnets: bool = False  # korat's own: that CrossSubnet can work


def settings(
    node_name: str,
    node_labels: Mapping[str, str],
    resources: Iterable[Resource],
    environ: Mapping[str, str],
) -> tuple[FelixSettings, list[Problem]]:
    """The settings of a node, and what of its configuration is wrong or not honoured."""
    problems: list[Problem] = []
    values: dict[str, tuple[str, object]] = {}
    for layer in _layers(node_name, node_labels, resources, problems):
        values.update(
            {key: (layer.title, value) for key, value in layer.spec.items() if value is not None}
        )
    values.update(_from_environment(environ, problems))
    values.pop("nodeSelector", None)
    chosen: dict[str, object] = {}
    for key, (where, value) in values.items():
        if key not in _HONOURED:
            problems.append(Problem(where, key, None, "is accepted; korat does not use it"))
            continue
        faults = field_faults(where, key, value)
        problems.extend(faults)
        if not faults:
            name, convert = _HONOURED[key]
            chosen[name] = convert(value)
    # Every key of ``chosen`` is a field of the settings and its converter gives that field's type.
    return replace(FelixSettings(), **chosen), problems  # type: ignore[arg-type]  # each by its field


def _layers(
    node_name: str,
    node_labels: Mapping[str, str],
    resources: Iterable[Resource],
    problems: list[Problem],
) -> Iterator[FelixConfiguration]:
    """The resources that concern this node, from low to high precedence."""
    own = [each for each in resources if isinstance(each, FelixConfiguration)]
    yield from (each for each in own if each.metadata.name == "default")
    selecting = sorted(
        (each for each in own if _selects(each, node_labels, problems)),
        key=lambda each: (each.metadata.creation_timestamp or "", each.metadata.name),
    )
    yield from selecting[:1]
    for ignored in selecting[1:]:
        rule = f"is ignored on {node_name}: {selecting[0].title} is older and selects it too"
        problems.append(Problem(ignored.title, "spec.nodeSelector", None, rule))
    yield from (each for each in own if each.metadata.name == f"node.{node_name}")


def _selects(
    own: FelixConfiguration, node_labels: Mapping[str, str], problems: list[Problem]
) -> bool:
    name = own.metadata.name
    selector = own.spec.get("nodeSelector")
    if name == "default" or name.startswith("node.") or not isinstance(selector, str):
        return False
    try:
        return parse(selector).matches(node_labels)
    except SelectorError as error:
        problems.append(Problem(own.title, "spec.nodeSelector", selector, str(error)))
        return False


def _from_environment(
    environ: Mapping[str, str], problems: list[Problem]
) -> dict[str, tuple[str, object]]:
    values: dict[str, tuple[str, object]] = {}
    for variable in sorted(environ):
        name = variable.lower()
        if not name.startswith(_PREFIX) or name.removeprefix(_PREFIX) in LOCAL_ONLY:
            continue
        key = BY_ENVIRONMENT.get(name.removeprefix(_PREFIX))
        if key is None:
            problems.append(Problem("environment", variable, None, "is not a setting of Felix"))
            continue
        values[key] = (f"environment {variable}", _typed(environ[variable], FIELDS[key]))
    return values


def _typed(text: str, field: Field) -> object:
    """A variable's text as the JSON value it stands for; unreadable text is left for the checks."""
    word = text.strip()
    lower = word.lower()
    typed: object = word
    match field.form:
        case Form.BOOLEAN if lower in _TRUE | _FALSE:
            typed = lower in _TRUE
        case Form.INTEGER if word.removeprefix("-").isdecimal():
            typed = int(word)
        case Form.CHOICE if field.exact:
            typed = next((c for c in field.choices if c.lower() == lower), word)
        case Form.TEXT if lower == "none":
            typed = ""
        case Form.LIST if field.name.startswith("failsafe"):
            typed = _listed(word)
        case Form.LIST if field.name == "externalNodesList":
            typed = list(_words(word))
        case Form.PORTS if lower in {"", "none"}:
            typed = 0
        case _:
            pass
    return typed


def _listed(word: str) -> object:
    try:
        return entries_of(word)
    except ValueError:
        return word


def _words(value: object) -> tuple[str, ...]:
    return tuple(word.strip() for word in str(value).split(",") if word.strip())


def _prefixes(value: object) -> tuple[str, ...]:
    """None at all is no choice but Felix' default: without a prefix nothing would be guarded."""
    return _words(value) or FelixSettings().interface_prefix


def _span(value: object) -> tuple[int, int] | None:
    """A range of ports; a lone number, and 0 above all, means that there is no range."""
    first, colon, last = str(value).partition(":")
    return (int(first), int(last)) if colon else _single(int(first))


def _single(port: int) -> tuple[int, int] | None:
    return (port, port) if port else None


def _capital(value: object) -> str:
    """Drop, Accept, Return, ... in the one spelling, whatever case the user chose."""
    return str(value).capitalize()


def _address(value: object) -> Addr | None:
    return Addr.parse(str(value)) if value else None


def _pattern(value: object) -> str:
    """A pattern that is none would leave no interface at all."""
    try:
        re.compile(str(value))
    except re.error:
        return FelixSettings().mtu_iface_pattern
    return str(value)


def _seconds(value: object) -> float:
    """A duration as Go writes it, ``1m30s``."""
    parts = _DURATION.findall(str(value))
    return sum(float(number) * _UNIT_S[unit] for number, unit in parts)


def _nets(value: object) -> tuple[Prefix, ...]:
    """A list, or the environment's words with commas between."""
    words = value if isinstance(value, list | tuple) else _words(value)
    return tuple(Prefix.parse(str(word)) for word in words)


def _enabled(value: object) -> bool:
    return value == "Enabled"


def _allowed(value: object) -> bool:
    return value == "Allowed"


def _rate(value: object) -> object:
    """Denials without any limit would be a way to fill a disk: empty means the default."""
    return value or FelixSettings().deny_log_rate_limit


def _same(value: object) -> object:
    return value


_Converter = Callable[[object], object]
_HONOURED: dict[str, tuple[str, _Converter]] = {
    "interfacePrefix": ("interface_prefix", _prefixes),
    "interfaceExclude": ("interface_exclude", _words),
    "defaultEndpointToHostAction": ("default_endpoint_to_host_action", _capital),
    "disableConntrackInvalidCheck": ("disable_conntrack_invalid_check", _same),
    "workloadSourceSpoofing": ("workload_source_spoofing", _capital),
    "natOutgoingExclusions": ("nat_outgoing_exclusions", _same),
    "natPortRange": ("nat_port_range", _span),
    "natOutgoingAddress": ("nat_outgoing_address", _address),
    "logPrefix": ("log_prefix", _same),
    "logActionRateLimit": ("log_action_rate_limit", _same),
    "logActionRateLimitBurst": ("log_action_rate_limit_burst", _same),
    "ipv6Support": ("ipv6_support", _same),
    "failsafeInboundHostPorts": ("failsafe_inbound_host_ports", failsafes),
    "failsafeOutboundHostPorts": ("failsafe_outbound_host_ports", failsafes),
    "nftablesFilterDenyAction": ("nftables_filter_deny_action", _capital),
    "prometheusMetricsEnabled": ("prometheus_metrics_enabled", _same),
    "prometheusMetricsHost": ("prometheus_metrics_host", _same),
    "prometheusMetricsPort": ("prometheus_metrics_port", _same),
    "prometheusProcessMetricsEnabled": ("prometheus_process_metrics_enabled", _same),
    "allowVXLANPacketsFromWorkloads": ("allow_vxlan_packets_from_workloads", _same),
    "allowIPIPPacketsFromWorkloads": ("allow_ipip_packets_from_workloads", _same),
    "vxlanEnabled": ("vxlan_enabled", _same),
    "vxlanPort": ("vxlan_port", _same),
    "vxlanVNI": ("vxlan_vni", _same),
    "vxlanMTU": ("vxlan_mtu", _same),
    "vxlanMTUV6": ("vxlan_mtu_v6", _same),
    "mtuIfacePattern": ("mtu_iface_pattern", _pattern),
    "routeSource": ("routes_of_workloads", lambda value: str(value).lower() == "workloadips"),
    "routeRefreshInterval": ("route_refresh_s", _seconds),
    "externalNodesList": ("external_nodes", _nets),
    "koratFabric": ("layer2_subnets", lambda value: value == "Layer2"),
    "koratDenyLog": ("deny_log", _enabled),
    "koratDenyLogGroup": ("deny_log_group", _same),
    "koratDenyLogRateLimit": ("deny_log_rate_limit", _rate),
    "koratDenyLogRateLimitBurst": ("deny_log_rate_limit_burst", _same),
    "koratRejudgeConnections": ("rejudge_connections", _enabled),
    "koratPodsToWireserver": ("pods_to_wireserver", _allowed),
    "koratPodsToInstanceMetadata": ("pods_to_instance_metadata", _allowed),
}

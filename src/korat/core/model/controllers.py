"""KubeControllersConfiguration: what the cluster's controllers are to do.

korat uses what is about automatic host endpoints, leaked addresses and metrics; the rest is stored
as it was written, and ``unused`` names it.
Source: projectcalico.org/v3 (kubecontrollersconfig.go), kube-controllers/pkg/config/runconfig.go.
"""

import math
import re
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import field

from korat.core.errors import Problem
from korat.core.model.key import Key
from korat.core.model.resource import Frozen, Resource, written

ENABLED, DISABLED = "Enabled", "Disabled"
#: The one object of its kind.
CONFIGURATION_NAME = "default"
CONFIGURATION_KEY = Key("KubeControllersConfiguration", "", CONFIGURATION_NAME)
#: How long an address must have leaked before it is taken back, when nobody says.
GRACE_S = 15 * 60
_PART = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_UNIT_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


class HostTemplate(Frozen, frozen=True):
    """Host endpoints to make for some nodes: by address within CIDRs, or for each interface.

    ``interface_pattern`` is a regular expression that an interface's name must contain.
    """

    generate_name: str = ""
    interface_cidrs: tuple[str, ...] = field(default=(), name="interfaceCIDRs")
    interface_pattern: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    node_selector: str = ""


class AutoHostEndpoint(Frozen, frozen=True):
    """Whether nodes get host endpoints by themselves, and which; empty is the default."""

    auto_create: str = ""
    create_default_host_endpoint: str = ""
    templates: tuple[HostTemplate, ...] = ()

    @property
    def enabled(self) -> bool:
        """Whether there are any."""
        return self.auto_create == ENABLED

    @property
    def with_default(self) -> bool:
        """Whether every node has one for all of its interfaces."""
        return self.create_default_host_endpoint != DISABLED


class NodeController(Frozen, frozen=True):
    """The controller of nodes."""

    reconciler_period: str | None = None
    sync_labels: str = ""
    host_endpoint: AutoHostEndpoint | None = None
    leak_grace_period: str | None = None


class PeriodicController(Frozen, frozen=True):
    """A controller of which only its period is set."""

    reconciler_period: str | None = None


class LoadBalancerController(Frozen, frozen=True):
    """The controller that gives addresses to services."""

    assign_ips: str = field(default="", name="assignIPs")


class MigrationController(Frozen, frozen=True):
    """The controller that renames what older versions stored."""

    policy_name_migrator: str = ""


class Controllers(Frozen, frozen=True):
    """The controllers; one that is not there is switched off."""

    node: NodeController | None = None
    policy: PeriodicController | None = None
    workload_endpoint: PeriodicController | None = None
    service_account: PeriodicController | None = None
    namespace: PeriodicController | None = None
    load_balancer: LoadBalancerController | None = None
    migration: MigrationController | None = None


class KubeControllersSpec(Frozen, frozen=True):
    """All settings; health checks are on unless it says otherwise."""

    log_severity_screen: str = ""
    health_checks: str = written(ENABLED)
    etcd_v3_compaction_period: str | None = None
    prometheus_metrics_port: int | None = None
    debug_profile_port: int | None = None
    controllers: Controllers = written(Controllers())


class KubeControllersConfiguration(Resource, frozen=True):
    """The singleton ``default``."""

    kind: str = written("KubeControllersConfiguration")
    spec: KubeControllersSpec = written(KubeControllersSpec())
    status: dict[str, Any] | None = None


def leak_grace_s(own: KubeControllersConfiguration | None) -> int | None:
    """How long an address must have leaked; 0 is for ever, None is no collector at all."""
    node = own.spec.controllers.node if own is not None else NodeController()
    if node is None:
        return None
    text = node.leak_grace_period
    return GRACE_S if text is None else math.ceil(_seconds(text))


def _seconds(text: str) -> float:
    """A duration of Go's, ``1m30s``, which was checked when it was written."""
    return sum(float(number) * _UNIT_S[unit] for number, unit in _PART.findall(text))


def unused(own: KubeControllersConfiguration) -> tuple[Problem, ...]:
    """The fields that somebody set and that nothing here does."""
    return tuple(
        Problem(own.title, path, None, "is stored and not used; korat has no such controller")
        for path in _unused(own)
    )


def _unused(own: KubeControllersConfiguration) -> Iterator[str]:
    spec = msgspec.to_builtins(own.spec)
    controllers = spec.pop("controllers")
    if spec["healthChecks"] == ENABLED:
        del spec["healthChecks"]  # Every object says so.
    node = controllers.pop("node", {})
    node.pop("hostEndpoint", None)
    node.pop("leakGracePeriod", None)
    spec.pop("prometheusMetricsPort", None)
    yield from (f"spec.{name}" for name in spec)
    yield from (f"spec.controllers.node.{name}" for name in node)
    yield from (f"spec.controllers.{name}" for name in controllers)

"""KubeControllersConfiguration.

Source: libcalico-go/lib/validator/v3 and the enumerations of the CRD (kubecontrollersconfig.go).
"""

import re

from korat.core.model.controllers import (
    CONFIGURATION_NAME,
    DISABLED,
    ENABLED,
    AutoHostEndpoint,
    Controllers,
    HostTemplate,
    KubeControllersConfiguration,
)
from korat.core.model.validate import name
from korat.core.model.validate.faults import Faults, each
from korat.core.net.port import PORT_LAST

_SWITCH = (ENABLED, DISABLED)
_LEVELS = ("None", "Debug", "Info", "Warning", "Error", "Fatal", "Panic")
_ASSIGNING = ("AllServices", "RequestedServicesOnly")
_DURATION = re.compile(r"0|([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+")
_PATTERN_CHARS = 256
_NODE = "spec.controllers.node"


def kube_controllers(faults: Faults, own: KubeControllersConfiguration) -> None:
    """The one object of its kind."""
    spec = own.spec
    if own.metadata.name != CONFIGURATION_NAME:
        rule = f"there is only one, named {CONFIGURATION_NAME}"
        faults.add("metadata.name", own.metadata.name, rule)
    _choice(faults, "spec.logSeverityScreen", spec.log_severity_screen, _LEVELS)
    _choice(faults, "spec.healthChecks", spec.health_checks, _SWITCH)
    _duration(faults, "spec.etcdV3CompactionPeriod", spec.etcd_v3_compaction_period)
    for field, port in (
        ("prometheusMetricsPort", spec.prometheus_metrics_port),
        ("debugProfilePort", spec.debug_profile_port),
    ):
        if port is not None and not 0 <= port <= PORT_LAST:
            faults.add(f"spec.{field}", port, f"must be 0 to {PORT_LAST}")
    _controllers(faults, spec.controllers)


def _controllers(faults: Faults, own: Controllers) -> None:
    for field, each_one in (
        ("node", own.node),
        ("policy", own.policy),
        ("workloadEndpoint", own.workload_endpoint),
        ("serviceAccount", own.service_account),
        ("namespace", own.namespace),
    ):
        if each_one is not None:
            path = f"spec.controllers.{field}.reconcilerPeriod"
            _duration(faults, path, each_one.reconciler_period)
    if own.load_balancer is not None:
        path = "spec.controllers.loadBalancer.assignIPs"
        _choice(faults, path, own.load_balancer.assign_ips, _ASSIGNING)
    if own.migration is not None:
        path = "spec.controllers.migration.policyNameMigrator"
        _choice(faults, path, own.migration.policy_name_migrator, _SWITCH)
    if own.node is not None:
        _choice(faults, f"{_NODE}.syncLabels", own.node.sync_labels, _SWITCH)
        _duration(faults, f"{_NODE}.leakGracePeriod", own.node.leak_grace_period)
        if own.node.host_endpoint is not None:
            _host_endpoint(faults, own.node.host_endpoint)


def _host_endpoint(faults: Faults, own: AutoHostEndpoint) -> None:
    here = f"{_NODE}.hostEndpoint"
    _choice(faults, f"{here}.autoCreate", own.auto_create, _SWITCH)
    default = own.create_default_host_endpoint
    _choice(faults, f"{here}.createDefaultHostEndpoint", default, _SWITCH)
    for index, template in enumerate(own.templates):
        _template(faults, f"{here}.templates[{index}]", template)


def _template(faults: Faults, here: str, own: HostTemplate) -> None:
    if own.generate_name:
        name.name(faults, f"{here}.generateName", own.generate_name)
    for field, text in each(f"{here}.interfaceCIDRs", own.interface_cidrs):
        faults.net(field, text)
    faults.unique(f"{here}.interfaceCIDRs", own.interface_cidrs)
    if own.interface_pattern:
        _pattern(faults, f"{here}.interfacePattern", own.interface_pattern)
    name.labels(faults, f"{here}.labels", own.labels)
    name.annotations(faults, f"{here}.annotations", own.annotations)
    if own.node_selector:
        faults.selector(f"{here}.nodeSelector", own.node_selector)


def _pattern(faults: Faults, field: str, text: str) -> None:
    if len(text) > _PATTERN_CHARS:
        faults.add(field, None, f"is longer than {_PATTERN_CHARS} characters")
        return
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        faults.add(field, text, f"is not a regular expression: {error}")


def _choice(faults: Faults, field: str, value: str, allowed: tuple[str, ...]) -> None:
    if value:
        faults.choice(field, value, allowed)


def _duration(faults: Faults, field: str, text: str | None) -> None:
    if text is not None:
        faults.matches(field, text, _DURATION, "must be a duration like 1m30s")

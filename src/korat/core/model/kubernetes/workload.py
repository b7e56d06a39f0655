"""A pod that runs as a Calico workload endpoint: its name, labels, profiles, ports.

Source: libcalico-go/lib/backend/k8s/conversion (workload_endpoint_default.go).
"""

import hashlib
from collections.abc import Iterable

from korat.core.errors import Invalid, Problem
from korat.core.model.endpoint import EndpointPort, WorkloadEndpoint, WorkloadEndpointSpec
from korat.core.model.endpoint_name import EndpointIdentity, endpoint_name
from korat.core.model.kubernetes.profile import account_profile_name, namespace_profile_name
from korat.core.model.label import (
    ALLOWED_SOURCE_PREFIXES,
    KUBERNETES,
    NAMESPACE,
    NAMESPACE_PREFIX,
    ORCHESTRATOR,
    SERVICE_ACCOUNT,
    SERVICE_ACCOUNT_PREFIX,
)
from korat.core.model.pod import Pod
from korat.core.model.resource import Metadata
from korat.core.model.validate.name import LABEL_CHARS

#: The one interface that every pod has.
POD_ENDPOINT = "eth0"
_HASH_CHARS = 11


def interface_name(namespace: str, pod: str, prefix: str = "cali") -> str:
    """The host's end of a pod's veth: the prefix and 11 hex digits that depend on its name."""
    digest = hashlib.sha1(f"{namespace}.{pod}".encode(), usedforsecurity=False).hexdigest()
    return prefix + digest[:_HASH_CHARS]


def endpoint_of(
    pod: Pod,
    node_name: str,
    container_id: str,
    ip_networks: Iterable[str],
    interface_name: str,
    mac: str,
) -> WorkloadEndpoint:
    """The workload endpoint of a pod, from the pod and what its node gave it.

    Raises:
        Invalid: its annotation of allowed source prefixes is malformed.
    """
    name, namespace = pod.metadata.name, pod.metadata.namespace
    identity = EndpointIdentity(
        node=node_name, orchestrator=KUBERNETES, pod=name, endpoint=POD_ENDPOINT
    )
    spec = WorkloadEndpointSpec(
        orchestrator=KUBERNETES,
        node=node_name,
        container_id=container_id,
        pod=name,
        endpoint=POD_ENDPOINT,
        service_account_name=pod.account,
        ip_networks=tuple(ip_networks),
        profiles=(
            namespace_profile_name(namespace),
            account_profile_name(namespace, pod.account),
        ),
        interface_name=interface_name,
        mac=mac,
        ports=_ports(pod),
        allow_spoofed_source_prefixes=_allowed_source_prefixes(pod),
    )
    metadata = Metadata(name=endpoint_name(identity), namespace=namespace, labels=_labels(pod))
    return WorkloadEndpoint(metadata=metadata, spec=spec)


def _labels(pod: Pod) -> dict[str, str]:
    """The pod's labels and who it is; what only a profile may say is left out."""
    inherited = (NAMESPACE_PREFIX, SERVICE_ACCOUNT_PREFIX)
    labels = {k: v for k, v in pod.metadata.labels.items() if not k.startswith(inherited)}
    labels[NAMESPACE] = pod.metadata.namespace
    labels[ORCHESTRATOR] = KUBERNETES
    if len(pod.account) < LABEL_CHARS:
        labels[SERVICE_ACCOUNT] = pod.account
    return labels


def _allowed_source_prefixes(pod: Pod) -> tuple[str, ...]:
    try:
        return pod.allowed_source_prefixes
    except ValueError as error:
        field = f"metadata.annotations.{ALLOWED_SOURCE_PREFIXES}"
        raise Invalid([Problem(pod.title, field, None, str(error))]) from error


def _ports(pod: Pod) -> tuple[EndpointPort, ...]:
    """The ports that have a name to be matched by, or are mapped to the host."""
    containers = (*pod.spec.containers, *pod.spec.init_containers)
    return tuple(
        EndpointPort(
            name=port.name,
            protocol=port.protocol or "TCP",
            port=port.container_port,
            host_port=port.host_port,
            host_ip=port.host_ip,
        )
        for container in containers
        for port in container.ports
        if port.container_port and (port.name or port.host_port)
    )

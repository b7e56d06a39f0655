"""Pod: what networking reads of it.

Source: Kubernetes' validation of PodSpec and ContainerPort.
"""

from korat.core.model.label import ALLOWED_SOURCE_PREFIXES
from korat.core.model.pod import Container, Pod
from korat.core.model.validate.endpoint import PORT_NAME, PORT_NAME_RULE
from korat.core.model.validate.faults import Faults
from korat.core.model.validate.name import name
from korat.core.net.port import NAMES_WITH_PORTS, PORT_LAST


def pod(faults: Faults, own: Pod) -> None:
    """A pod's node, account, ports, and the sources that it asks to use."""
    for field, text in (
        ("spec.nodeName", own.spec.node_name),
        ("spec.serviceAccountName", own.spec.service_account_name),
    ):
        if text:
            name(faults, field, text)
    try:
        _ = own.allowed_source_prefixes
    except ValueError as error:
        given = own.metadata.annotations[ALLOWED_SOURCE_PREFIXES]
        faults.add(f"metadata.annotations.{ALLOWED_SOURCE_PREFIXES}", given, str(error))
    _containers(faults, "spec.initContainers", own.spec.init_containers)
    _containers(faults, "spec.containers", own.spec.containers)


def _containers(faults: Faults, field: str, containers: tuple[Container, ...]) -> None:
    for i, container in enumerate(containers):
        names = [port.name for port in container.ports if port.name]
        faults.unique(f"{field}[{i}].ports", names)
        for j, port in enumerate(container.ports):
            here = f"{field}[{i}].ports[{j}]"
            faults.choice(f"{here}.protocol", port.protocol, NAMES_WITH_PORTS)
            if not 1 <= port.container_port <= PORT_LAST:
                rule = f"must be 1 to {PORT_LAST}"
                faults.add(f"{here}.containerPort", port.container_port, rule)
            if not 0 <= port.host_port <= PORT_LAST:
                faults.add(f"{here}.hostPort", port.host_port, f"must be 0 to {PORT_LAST}")
            if port.name:
                faults.matches(f"{here}.name", port.name, PORT_NAME, PORT_NAME_RULE)

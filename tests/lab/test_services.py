"""Services in a lab: their slices follow the pods, and rules with services follow the slices."""

import json
from collections.abc import Iterator

import pytest

from lab_world import Lab, lab, pods

pytestmark = pytest.mark.lab

PODS = pods(
    ("default", "client", "vm1", {"app": "client"}),
    ("default", "one", "vm2", {"app": "server"}),
    ("default", "two", "vm1", {"app": "other"}),
)
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec: {selector: {app: server}, ports: [{port: 8080, targetPort: http}]}
"""
ONLY_THE_SERVICE = """
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: only-the-service, namespace: default}
spec:
  selector: app == 'client'
  egress: [{action: Allow, destination: {services: {name: web}}}]
"""
FROM_THE_SERVICE = """
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: from-the-service, namespace: default}
spec:
  selector: app == 'client'
  types: [Ingress]
  ingress: [{action: Allow, source: {services: {name: web}}}]
"""


@pytest.fixture(scope="module")
def two() -> Iterator[Lab]:
    with lab("svc", nodes=2) as made:
        made.apply(PODS)
        yield made


def addresses(made: Lab) -> set[str]:
    """What the service's slices hold, once everything is up to date."""
    made.probe("--from", "default/client", "--to", "default/one")
    items = made.json("get", "endpointslice", "-n", "default")["items"]
    return {text for each in items for end in each["endpoints"] for text in end["addresses"]}


def label(made: Lab, name: str, app: str) -> None:
    pod = made.json("get", "pod", name, "-n", "default")
    pod["metadata"]["labels"]["app"] = app
    del pod["metadata"]["resourceVersion"]
    made.apply(json.dumps(pod))


def test_rules_with_services_follow_the_pods(two: Lab) -> None:
    two.apply(SERVICE)
    assert addresses(two) == {two.pod("default/one")["address"]}
    two.apply(ONLY_THE_SERVICE)
    assert two.talks("default/client", "default/one")
    assert not two.talks("default/client", "default/two")
    label(two, "two", "server")
    assert two.talks("default/client", "default/two")
    label(two, "two", "other")
    assert not two.talks("default/client", "default/two")
    two.delete(SERVICE)
    assert not two.talks("default/client", "default/one")
    assert addresses(two) == set()
    two.delete(ONLY_THE_SERVICE)


def test_the_pods_of_a_service_may_come_in(two: Lab) -> None:
    two.apply(f"{SERVICE}---{FROM_THE_SERVICE}")
    assert two.talks("default/one", "default/client")
    assert not two.talks("default/two", "default/client")
    two.run("delete", "pod", "one")
    label(two, "two", "server")
    assert two.talks("default/two", "default/client")
    two.delete(f"{SERVICE}---{FROM_THE_SERVICE}")

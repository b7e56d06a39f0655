"""Where the lab's pods go that name no node."""

from korat.core.model.key import Key
from korat.core.model.pod import Pod, PodSpec
from korat.core.model.resource import Metadata
from korat.lab.scheduler import place


def pods(*rows: tuple[str, str]) -> dict[Key, Pod]:
    made = (
        Pod(metadata=Metadata(name=name, namespace="a"), spec=PodSpec(node_name=node))
        for name, node in rows
    )
    return {pod.key: pod for pod in made}


def placed(*rows: tuple[str, str], nodes: tuple[str, ...]) -> dict[str, str]:
    return {key.name: pod.spec.node_name for key, pod in place(pods(*rows), nodes).items()}


def test_the_emptiest_node_and_names_break_ties():
    rows = (("c", ""), ("a", ""), ("b", ""), ("d", "vm2"))
    assert placed(*rows, nodes=("vm2", "vm1", "vm3")) == {"a": "vm1", "b": "vm3", "c": "vm1"}


def test_a_new_node_is_the_emptiest():
    assert placed(("a", "vm1"), ("b", ""), nodes=("vm1", "vm2")) == {"b": "vm2"}


def test_pods_of_other_nodes_count_for_nobody():
    assert placed(("a", "gone"), ("b", ""), nodes=("vm1",)) == {"b": "vm1"}


def test_without_nodes_pods_wait():
    assert placed(("a", ""), nodes=()) == {}

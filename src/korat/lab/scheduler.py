"""Which node a pod runs on, when its manifest names none."""

from collections import Counter
from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from korat.core.model.key import Key
from korat.core.model.pod import Pod


def place(pods: Mapping[Key, Pod], nodes: Iterable[str]) -> dict[Key, Pod]:
    """The pods that had no node, each with the one that is emptiest then; names break ties.

    Without nodes they wait: none is placed.
    """
    load = Counter(dict.fromkeys(nodes, 0))
    load.update(p.spec.node_name for p in pods.values() if p.spec.node_name in load)
    placed = {}
    for key in sorted(pods):
        if pods[key].spec.node_name or not load:
            continue
        node = min(load, key=lambda name: (load[name], name))
        load[node] += 1
        placed[key] = replace(pods[key], spec=replace(pods[key].spec, node_name=node))
    return placed

"""How an object is named in every store: kind, namespace, name."""

from typing import NamedTuple

from typing_extensions import override

#: Where an object of a namespaced kind is that names no namespace.
DEFAULT_NAMESPACE = "default"


class Key(NamedTuple):
    """The identity of an object; ``namespace`` is empty for cluster-scoped kinds.

    ``kind`` is Calico's name of it, ``NetworkPolicy``; drivers map it to plurals and paths.
    """

    kind: str
    namespace: str
    name: str

    @override
    def __str__(self) -> str:
        return (
            f"{self.kind} {self.namespace}/{self.name}"
            if self.namespace
            else f"{self.kind} {self.name}"
        )

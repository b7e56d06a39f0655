"""How objects are named in every store: kind, namespace, name; and several of them at once."""

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


class Branch(NamedTuple):
    """The objects of a cluster-scoped kind whose names begin alike."""

    kind: str
    prefix: str


#: What to read: every object of a kind, one object, or those of a branch.
Selection = str | Key | Branch

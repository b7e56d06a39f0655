"""What the words KIND and NAME on the command line mean."""

from korat.core.errors import Invalid, Problem, Unsupported
from korat.core.model.decode import nearest
from korat.core.model.key import DEFAULT_NAMESPACE, Key
from korat.core.model.kind import KINDS, Kind, kind_of
from korat.core.model.kubernetes.policy import PREFIX
from korat.drivers.store.client import identity

#: Kubernetes kinds that are kept as something else.
_KEPT_AS = {
    "namespace": "Profile kns.NAMESPACE",
    "ns": "Profile kns.NAMESPACE",
    "serviceaccount": "Profile ksa.NAMESPACE.ACCOUNT",
    "sa": "Profile ksa.NAMESPACE.ACCOUNT",
}


def kind_named(word: str) -> Kind:
    """The kind a user means.

    Raises:
        Invalid: there is none of this name.
    """
    kind = kind_of(word)
    if kind is not None:
        return kind
    kept = _KEPT_AS.get(word.lower().removesuffix("s"))
    if kept:
        rule = f"resource type is not supported; it is kept as {kept}: korat get profiles"
        raise Invalid([Problem("", "", word, rule)])
    words = [*(kind.name for kind in KINDS.values()), *(kind.plural for kind in KINDS.values())]
    near = nearest(word, words)
    meant = f", did you mean {near}?" if near else f"; there are {', '.join(sorted(KINDS))}"
    raise Invalid([Problem("", "", word, f"resource type is not supported{meant}")])


def key_named(kind: Kind, name: str, namespace: str) -> Key:
    """The key of one object; namespaced kinds are in ``default`` when no namespace is given."""
    return Key(kind.name, (namespace or DEFAULT_NAMESPACE) if kind.namespaced else "", name)


def refuse_kubernetes(verb: str, key: Key) -> None:
    """Policies that were written in Kubernetes' language are changed in that language only.

    Raises:
        Unsupported: the key is one of them.
    """
    if key.kind == "NetworkPolicy" and key.name.startswith(PREFIX):
        why = "kubernetes network policies must be managed through the kubernetes API"
        remedy = f"use korat {'delete' if verb == 'delete' else 'apply'} -f with its manifest"
        raise Unsupported(f"operation {verb} is not supported on {identity(key)}: {why}", remedy)

"""Many objects as one act: everything is checked before the first write.

The order of a file does not matter: tiers and profiles are written before what needs them, pods
after the policies that guard them, and deletion goes the other way. A store has no transactions
over several objects, so another writer can still stop a batch in the middle; the outcome says
where.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from korat.core.errors import Conflict, Invalid, KoratError, Problem
from korat.core.ipam.pool import pool_of
from korat.core.ipam.survey import held_in
from korat.core.model.config import IPPool
from korat.core.model.key import Key
from korat.core.model.kubernetes.profile import (
    account_profile,
    account_profile_name,
    namespace_profile,
)
from korat.core.model.label import NAMESPACE_PROFILE_PREFIX
from korat.core.model.pod import DEFAULT_ACCOUNT, Pod
from korat.core.model.resource import Resource
from korat.core.model.validate import against, deletable
from korat.drivers.store.client import (
    Client,
    Objects,
    identity,
    missing,
    refuse_protected,
    refuse_stale,
    refuse_undeletable,
    refuse_versioned,
)
from korat.drivers.store.ipam import run as run_steps

#: How many addresses a note names.
_SHOWN = 3

#: Kinds are written in this order and deleted in the other one; the rest goes before the pods.
_ORDER = (
    "ClusterInformation",
    "FelixConfiguration",
    "Tier",
    "Profile",
    "GlobalNetworkSet",
    "NetworkSet",
    "GlobalNetworkPolicy",
    "NetworkPolicy",
)


class Verb(Enum):
    """What to do with each object of a batch."""

    CREATE = "create"
    APPLY = "apply"
    REPLACE = "replace"
    DELETE = "delete"


class Refused(KoratError):
    """The batch breaks rules; nothing was written. ``errors`` holds every one."""

    def __init__(self, errors: Iterable[KoratError]) -> None:
        self.errors = tuple(errors)
        super().__init__("\n".join(str(error) for error in self.errors))


@dataclass(frozen=True, slots=True)
class Batch:
    """Resources that were checked together, in the order in which they are written.

    ``before`` is what was there then; a write finds out when that is no longer so.
    """

    verb: Verb
    resources: tuple[Resource, ...]
    notes: tuple[str, ...]
    before: Mapping[Key, Resource]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a batch did: the objects as they are now, what was done unasked, and what stopped it."""

    done: tuple[Resource, ...]
    notes: tuple[str, ...] = ()
    error: KoratError | None = None

    @property
    def keys(self) -> frozenset[Key]:
        """The objects that were written or deleted."""
        return frozenset(resource.key for resource in self.done)


def apply(client: Client, resources: Iterable[Resource]) -> Outcome:
    """Create or replace all of these.

    Raises:
        Refused: a rule is broken; nothing was written.
    """
    return run(client, Verb.APPLY, resources)


def run(client: Client, verb: Verb, resources: Iterable[Resource]) -> Outcome:
    """Check everything, then write it.

    Raises:
        Refused: a rule is broken; nothing was written.
    """
    return write(client, prepare(client, verb, resources))


def prepare(
    client: Client, verb: Verb, resources: Iterable[Resource], *, tolerant: bool = False
) -> Batch:
    """Check everything; ``tolerant`` passes over what exists or is gone already.

    Raises:
        Refused: a rule is broken.
    """
    objects = client.read()
    wanted = list(resources)
    if tolerant:
        wanted = [r for r in wanted if (r.key in objects.by_key) is (verb is Verb.DELETE)]
    notes: tuple[str, ...] = ()
    if verb is Verb.DELETE:
        wanted += _orphans(objects.by_key, wanted)
    else:
        implied = _implied(objects.by_key, wanted)
        wanted += [resource for resource, _ in implied]
        notes = tuple(note for _, note in implied if note)
    errors = [*_contract(objects, verb, wanted), *_together(objects, verb, wanted)]
    if errors:
        raise Refused(errors)
    return Batch(verb, tuple(_ordered(verb, wanted)), notes, objects.by_key)


def _ordered(verb: Verb, resources: Iterable[Resource]) -> list[Resource]:
    """What others stand on first; last when it is taken away."""

    def rank(resource: Resource) -> int:
        if isinstance(resource, Pod):
            return len(_ORDER) + 1
        kind = resource.kind
        return _ORDER.index(kind) if kind in _ORDER else len(_ORDER)

    return sorted(resources, key=rank, reverse=verb is Verb.DELETE)


def _contract(objects: Objects, verb: Verb, resources: Iterable[Resource]) -> list[KoratError]:
    """What Calico's client demands of each object alone."""
    errors = []
    for resource in resources:
        try:
            _admit(verb, resource, objects.by_key.get(resource.key))
        except KoratError as error:
            errors.append(error)
    return errors


def _admit(verb: Verb, resource: Resource, current: Resource | None) -> None:
    """Raise when this verb cannot be done to this object."""
    if verb is Verb.DELETE:
        refuse_undeletable(resource.key)
    else:
        refuse_protected(verb.value, resource)
    if verb is Verb.CREATE:
        refuse_versioned(resource)
        if current is not None:
            raise Conflict(f"resource already exists: {identity(resource.key)}")
    elif current is not None:
        refuse_stale(resource, current)
    elif verb is not Verb.APPLY:
        raise missing(resource.key)


def _together(objects: Objects, verb: Verb, resources: Iterable[Resource]) -> list[KoratError]:
    """Rules over several objects, the batch's own among them."""
    changed = {resource.key: resource for resource in resources}
    rest = {key: r for key, r in objects.by_key.items() if key not in changed}
    problems: list[Problem] = []
    for key, resource in changed.items():
        if verb is Verb.DELETE:
            problems += deletable(resource, rest.values())
            continue
        others = {**rest, **changed}
        before = objects.by_key.get(key)
        others.pop(key)
        problems += against(resource, [*others.values(), *([before] if before else [])])
    return [Invalid([problem]) for problem in problems]


def _implied(
    there: Mapping[Key, Resource], resources: Iterable[Resource]
) -> list[tuple[Resource, str]]:
    """Profiles of namespaces and service accounts that pods use and nobody declared, with a note.

    Kubernetes makes the account ``default`` of every namespace itself, so that needs no note.
    """
    batch = list(resources)
    known = {*there, *(resource.key for resource in batch)}
    found: list[tuple[Resource, str]] = []
    for pod in batch:
        if not isinstance(pod, Pod):
            continue
        namespace, account = pod.metadata.namespace, pod.account
        spoken = account != DEFAULT_ACCOUNT
        for profile, note in (
            (namespace_profile(namespace, {}), _note(pod, "Namespace", namespace)),
            (account_profile(namespace, account, {}), _note(pod, "ServiceAccount", account)),
        ):
            if profile.key not in known:
                known.add(profile.key)
                found.append((profile, note if spoken or profile.spec.ingress else ""))
    return found


def _note(pod: Pod, kind: str, name: str) -> str:
    """What to tell the user of a profile that was made unasked."""
    return f"{pod.title}: no {kind} {name} was declared, so it was created without labels"


def _orphans(there: Mapping[Key, Resource], resources: Iterable[Resource]) -> list[Resource]:
    """The service accounts of deleted namespaces, which go with them as in Kubernetes."""
    gone = {resource.key for resource in resources}
    accounts = tuple(
        account_profile_name(key.name.removeprefix(NAMESPACE_PROFILE_PREFIX), "")
        for key in gone
        if key.kind == "Profile" and key.name.startswith(NAMESPACE_PROFILE_PREFIX)
    )
    return [
        resource
        for key, resource in there.items()
        if accounts and key.kind == "Profile" and key.name.startswith(accounts) and key not in gone
    ]


def write(client: Client, batch: Batch) -> Outcome:
    """Write one after the other; stop at the first that another writer spoils."""
    acts: dict[Verb, Callable[[Resource], Resource]] = {
        Verb.CREATE: client.create,
        Verb.APPLY: lambda r: client.apply(r, batch.before),
        Verb.REPLACE: lambda r: client.update(r, batch.before.get(r.key)),
        Verb.DELETE: lambda r: client.delete(r.key, r.metadata.resource_version),
    }
    done: list[Resource] = []
    notes = list(batch.notes)
    for resource in batch.resources:
        try:
            done.append(acts[batch.verb](resource))
            if batch.verb is Verb.DELETE and isinstance(resource, IPPool):
                notes += _left_in_use(client, resource)
        except KoratError as error:
            return Outcome(tuple(done), tuple(notes), error)
    return Outcome(tuple(done), tuple(notes))


def _left_in_use(client: Client, pool: IPPool) -> list[str]:
    """What to tell the user of a pool that is gone and whose addresses are not."""
    known = pool_of(pool)
    held = run_steps(client.store, held_in(known.cidr)) if known is not None else ()
    if not held:
        return []
    few = ", ".join(map(str, held[:_SHOWN])) + (", ..." if len(held) > _SHOWN else "")
    what = f"{pool.title}: {len(held)} of its addresses are still in use ({few})"
    return [f"{what}; each goes with its pod, and its block with the last of them"]

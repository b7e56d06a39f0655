"""Calico's client contract on a Store: what each write demands, and what it fills in.

Every write is a compare-and-swap. A new object gets a uid and a creation time and keeps both;
defaults are filled in; built-in objects are protected. For one object at a time:
``korat.drivers.store.batch`` does files of them. Not for the objects' own rules, which are
``korat.core.model.validate``'s.
Source: Calico's libcalico-go/lib/clientv3 (etcd mode).
"""

import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from msgspec.structs import replace

from korat.core.errors import Conflict, Invalid, NotFound, Problem, Unsupported
from korat.core.ipam.host import release_pool
from korat.core.ipam.pool import pool_of
from korat.core.model import builtin
from korat.core.model.builtin import DEFAULT_ALLOW
from korat.core.model.codec import dump, resource_of
from korat.core.model.config import IPPool
from korat.core.model.default import apply as fill
from korat.core.model.key import Key, Selection
from korat.core.model.pod import Pod
from korat.core.model.resource import Resource
from korat.drivers.store.ipam import run
from korat.ports import Store

#: How often ``apply`` reads again when somebody else writes the same object at the same time.
APPLY_TRIES = 5
#: How long a node may take to hear that a pool was disabled, before its blocks are released.
DISABLED_S = 0.5


def now_text() -> str:
    """The present time as Kubernetes writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")  # noqa: TID251  # the default of a parameter


def new_uid() -> str:
    """A random identity for a new object."""
    return str(uuid.uuid4())


def identity(key: Key) -> str:
    """The object as Calico's messages name it, ``NetworkPolicy(shop/allow-web)``."""
    return f"{key.kind}({key.namespace}/{key.name})" if key.namespace else f"{key.kind}({key.name})"


@dataclass(frozen=True, slots=True)
class Objects:
    """What a store held at one revision, the default profile included."""

    by_key: dict[Key, Resource]
    revision: int

    def of(self, kind: str, namespace: str = "") -> list[Resource]:
        """The objects of a kind by namespace and name; every namespace when none is given."""
        found = [r for key, r in self.by_key.items() if key.kind == kind]
        chosen = [r for r in found if not namespace or r.metadata.namespace == namespace]
        return sorted(chosen, key=lambda r: r.key)


@dataclass(frozen=True, slots=True)
class Client:
    """Reads and writes single objects by Calico's rules."""

    store: Store
    now: Callable[[], str] = now_text
    new_uid: Callable[[], str] = new_uid
    sleep: Callable[[float], None] = time.sleep

    def read(self, wanted: Iterable[Selection] = ()) -> Objects:
        """What these name (see ``Store.list``), or everything, at one revision."""
        selections = tuple(wanted)
        snapshot = self.store.list(selections)
        found = {record.key: resource_of(record) for record in snapshot.records}
        if not selections or "Profile" in selections or DEFAULT_ALLOW.key in selections:
            found = {DEFAULT_ALLOW.key: DEFAULT_ALLOW, **found}
        return Objects(found, snapshot.revision)

    def get(self, key: Key) -> Resource:
        """One object.

        Raises:
            NotFound: it is not there.
        """
        found = self.read([key]).by_key.get(key)
        if found is None:
            raise missing(key)
        return found

    def create(self, resource: Resource) -> Resource:
        """Write a new object.

        Raises:
            Conflict: it exists already.
            Invalid: it has a resourceVersion.
            Unsupported: it is built in.
        """
        refuse_protected("create", resource)
        refuse_versioned(resource)
        fresh = replace(
            resource.metadata,
            uid=resource.metadata.uid or self.new_uid(),
            creation_timestamp=self.now(),
        )
        try:
            return self._written(replace(resource, metadata=fresh), None)
        except Conflict as error:
            raise Conflict(f"resource already exists: {identity(resource.key)}") from error

    def update(self, resource: Resource, current: Resource | None = None) -> Resource:
        """Replace an object; with a resourceVersion only if the store still has that one.

        ``current`` spares the read when the caller has just done it.

        Raises:
            NotFound: it is not there.
            Conflict: it was changed since.
            Unsupported: it is built in.
        """
        refuse_protected("update", resource)
        before = current or self.get(resource.key)
        refuse_stale(resource, before)
        after = _kept(resource, before)
        if dump(fill(after)) == dump(before):
            return before
        try:
            return self._written(after, int(before.metadata.resource_version))
        except Conflict as error:
            raise conflict(resource.key) from error
        except NotFound as error:
            raise missing(resource.key) from error

    def apply(self, resource: Resource, before: Mapping[Key, Resource] | None = None) -> Resource:
        """Create the object or replace the one that is there.

        ``before`` is what the caller has just read; it spares the first read.

        Raises:
            Conflict: it was changed since the resourceVersion it carries, or all the time.
            Unsupported: it is built in.
        """
        for turn in range(APPLY_TRIES):
            known = before if turn == 0 else None
            there = self.read([resource.key]).by_key if known is None else known
            current = there.get(resource.key)
            try:
                if current is not None:
                    return self.update(resource, current)
                new = replace(resource.metadata, resource_version="")
                return self.create(replace(resource, metadata=new))
            except (Conflict, NotFound):
                if resource.metadata.resource_version:
                    raise
        raise conflict(resource.key)

    def delete(self, key: Key, resource_version: str = "") -> Resource:
        """Remove an object and return what it was; a pool lets go of its blocks first.

        Raises:
            NotFound: it is not there.
            Conflict: it was changed since the given resourceVersion.
            Unsupported: it is built in.
        """
        refuse_undeletable(key)
        if key.kind == "IPPool":
            resource_version = self._emptied(key, resource_version)
        try:
            gone = self.store.delete(key, _revision(key, resource_version))
        except Conflict as error:
            raise conflict(key) from error
        if gone is None:
            raise missing(key)
        return resource_of(gone)

    def _emptied(self, key: Key, resource_version: str) -> str:
        """Disable a pool, end all claims to its blocks; the resourceVersion to delete it at.

        Addresses that somebody has stay his, in blocks that are nobody's then.
        """
        pool = self.get(key)
        if not isinstance(pool, IPPool):
            return resource_version
        if resource_version and resource_version != pool.metadata.resource_version:
            raise conflict(key)
        if not pool.spec.disabled:
            pool = self.update(replace(pool, spec=replace(pool.spec, disabled=True)), pool)
            self.sleep(DISABLED_S)
        known = pool_of(pool) if isinstance(pool, IPPool) else None
        if known is not None:
            run(self.store, release_pool(known.cidr))
        return resource_version and pool.metadata.resource_version

    def _written(self, resource: Resource, revision: int | None) -> Resource:
        """Put the bytes into the store."""
        value = dump(fill(resource))
        if revision is None:
            return resource_of(self.store.create(resource.key, value))
        return resource_of(self.store.update(resource.key, value, revision))


def initialize(client: Client, version: str) -> None:
    """Give a store what every cluster has: the built-in tiers and the ClusterInformation."""
    there = client.read(["Tier", "ClusterInformation"]).by_key
    for resource in builtin.initial(client.new_uid().replace("-", ""), version):
        if resource.key not in there:
            _create_or_leave(client, resource)


def _create_or_leave(client: Client, resource: Resource) -> None:
    """Create; that somebody else did it at the same time is fine."""
    fresh = replace(resource.metadata, uid=client.new_uid(), creation_timestamp=client.now())
    try:
        client.store.create(resource.key, dump(replace(resource, metadata=fresh)))
    except Conflict:
        return


def _kept(resource: Resource, before: Resource) -> Resource:
    """The new object with what its author does not own: its identity, status, and a pod's node."""
    metadata = replace(
        resource.metadata,
        uid=before.metadata.uid,
        creation_timestamp=before.metadata.creation_timestamp,
    )
    after = replace(resource, metadata=metadata)
    if isinstance(after, Pod) and isinstance(before, Pod) and not after.spec.node_name:
        after = replace(after, spec=replace(after.spec, node_name=before.spec.node_name))
    status = getattr(before, "status", None)
    untouched = getattr(after, "status", None) == getattr(type(after)(), "status", None)
    return replace(after, status=status) if untouched and status is not None else after


def missing(key: Key) -> NotFound:
    """The error of an object that is not there."""
    return NotFound(f"resource does not exist: {identity(key)}")


def conflict(key: Key) -> Conflict:
    """The error of an object that somebody else changed."""
    return Conflict(f"update conflict: {identity(key)}", "get it again and repeat the change")


def refuse_versioned(resource: Resource) -> None:
    """A new object has no resourceVersion yet."""
    version = resource.metadata.resource_version
    if version:
        rule = "must not be set to create an object; `get --export` leaves it out"
        raise Invalid([Problem(resource.title, "metadata.resourceVersion", version, rule)])


def refuse_stale(resource: Resource, current: Resource) -> None:
    """A resourceVersion that is given must be the present one."""
    given = resource.metadata.resource_version
    if given and given != current.metadata.resource_version:
        raise conflict(resource.key)


def refuse_protected(verb: str, resource: Resource) -> None:
    """Some of what every cluster has is not to be written."""
    if not builtin.may_write(resource.key):
        raise _not_supported(verb, resource.key, "it is built in")


def refuse_undeletable(key: Key) -> None:
    """Nobody deletes what every cluster has."""
    if not builtin.may_delete(key):
        raise _not_supported("delete", key, "it is built in")


def _not_supported(verb: str, key: Key, why: str) -> Unsupported:
    """Calico's words for what cannot be done to an object."""
    return Unsupported(f"operation {verb} is not supported on {identity(key)}: {why}")


def _revision(key: Key, version: str) -> int | None:
    """A resourceVersion as a number; none when none was given."""
    if not version:
        return None
    if not version.isdecimal():
        rule = "a resourceVersion is the decimal number that `get` prints"
        raise Invalid([Problem(str(key), "metadata.resourceVersion", version, rule)])
    return int(version)

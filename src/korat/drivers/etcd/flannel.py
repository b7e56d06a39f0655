"""flannel's configuration and leases in etcd, the very keys that flanneld reads and writes.

One key for each node's subnets, with a lease of etcd's that lasts a day; a key without one is a
reservation, which stays. Every write compares what was read, so that of two nodes that want the
same subnet one chooses again. A write that nobody confirmed is read and tried again: it is the
same node's, so it finds its own.

Importing this imports gRPC, as ``client`` does.
Source: flannel's pkg/subnet/etcd (local_manager.go, registry.go).
"""

import secrets
from collections.abc import Iterable, Sequence
from math import inf
from threading import Lock
from time import monotonic

from typing_extensions import override

from korat.core.errors import NotFound, Unavailable
from korat.core.route.flannel.choice import Draw, Pair, choose
from korat.core.route.flannel.lease import (
    LEASE_S,
    Held,
    Holder,
    Lease,
    lease_value,
    read_lease,
    subnets_of_key,
)
from korat.core.route.flannel.network import FlannelNetwork, read_network
from korat.drivers.etcd.client import Etcd
from korat.drivers.etcd.error import OutcomeUnknown
from korat.drivers.etcd.settings import FlannelEtcd
from korat.drivers.etcd.value import Absent, Change, Condition, Delete, Found, Item, Put, Unchanged
from korat.drivers.etcd.watch import EtcdWatch
from korat.ports import LeaseWatch, SubnetLeases

#: How often a write that others were faster than is tried.
RACES = 10

_EXAMPLE = '{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan"}}'


class EtcdSubnets(SubnetLeases):
    """The subnet manager of flannel's that keeps its leases in etcd."""

    def __init__(self, etcd: Etcd, root: str, draw: Draw = secrets.randbelow) -> None:
        self._etcd = etcd
        self._root = root
        self._subnets = f"{root}/subnets/"
        self._draw = draw

    @override
    def network(self) -> FlannelNetwork:
        key = f"{self._root}/config"
        item = self._etcd.get(key)
        if item is None:
            raise NotFound(
                f"etcd has no key {key}, flannel's network configuration",
                f"write it: etcdctl put {key} '{_EXAMPLE}'",
            )
        return read_network(item.value)

    @override
    def acquire(self, holder: Holder, previous: Pair | None) -> Held:
        network = self.network()
        for _ in range(RACES):
            found = self._etcd.range(self._subnets)
            leases = _leases(found.items)
            taken = [pair for item in found.items if (pair := _pair(item)) is not None]
            choice = choose(network, leases, taken, holder.public_ip, previous, self._draw)
            if choice.stale is not None:
                self._remove(found, choice.stale)
            lease = holder.lease(choice.subnet, choice.subnet6)
            before = None if choice.held is None else self._item(found, choice.held)
            held = self._write(lease, before)
            if held is not None:
                return held
            # Should that write be under way still, the next one goes to the same key.
            previous = (choice.subnet, choice.subnet6)
        raise _outrun("this node's lease")

    @override
    def renew(self, lease: Lease) -> Held:
        for _ in range(RACES):
            item = self._etcd.get(self._key(lease))
            if item is None:
                raise NotFound(f"flannel lease {lease.key} was deleted", _ACQUIRE)
            owner = next((each.public_ip for each in _leases([item])), lease.public_ip)
            if owner != lease.public_ip:
                raise NotFound(f"flannel lease {lease.key} is {owner}'s now", _ACQUIRE)
            held = self._write(lease, item)
            if held is not None:
                return held
        raise _outrun(f"flannel lease {lease.key}")

    @override
    def watch(self) -> LeaseWatch:
        return _EtcdLeases(self._etcd, self._subnets)

    @override
    def close(self) -> None:
        self._etcd.close()

    def _write(self, lease: Lease, before: Item | None) -> Held | None:
        """Write a lease in place of what was read; None when that has changed."""
        key = self._key(lease)
        reserved = before is not None and not before.lease
        number = 0 if reserved else self._etcd.grant(LEASE_S)
        condition: Condition = Absent(key) if before is None else Unchanged(key, before.revision)
        try:
            put = Put(key, lease_value(lease).encode(), number)
            outcome = self._etcd.txn([condition], [put])
        except OutcomeUnknown:
            # Revoking the new lease would delete the key if it was written. Unused, it ends alone.
            return None
        if outcome.succeeded:
            return Held(lease, inf if reserved else LEASE_S)
        if number:
            self._etcd.revoke(number)
        return None

    def _remove(self, found: Found, stale: Lease) -> None:
        """Delete a lease that this node may not keep, unless it has changed."""
        item = self._item(found, stale)
        self._etcd.txn([Unchanged(item.key, item.revision)], [Delete(item.key)])

    def _item(self, found: Found, lease: Lease) -> Item:
        key = self._key(lease)
        return next(item for item in found.items if item.key == key)

    def _key(self, lease: Lease) -> str:
        return f"{self._subnets}{lease.key}"


_ACQUIRE = "acquire another one"


def connect(settings: FlannelEtcd) -> EtcdSubnets:
    """The leases of flannel's where the settings say; nothing is sent yet."""
    return EtcdSubnets(Etcd(settings.etcd), settings.root)


def _outrun(what: str) -> Unavailable:
    return Unavailable(f"{what} could not be written: etcd's key changed {RACES} times meanwhile")


def _name(item: Item) -> str:
    return item.key.rpartition("/subnets/")[2]


def _pair(item: Item) -> Pair | None:
    """The subnets that a key names; None for a key that is no lease's."""
    try:
        return subnets_of_key(_name(item))
    except ValueError:
        return None


def _leases(items: Sequence[Item]) -> tuple[Lease, ...]:
    """The leases that can be read, in the order of their keys.

    One whose key is spelt as flannel would not is nobody's to renew; its subnet is taken.
    """
    found = []
    for item in items:
        try:
            lease = read_lease(_name(item), item.value)
        except ValueError:
            continue
        if lease.key == _name(item):
            found.append(lease)
    return tuple(found)


class _EtcdLeases(LeaseWatch):
    """All leases, by a list and a watch; by another list when the watch cannot go on."""

    def __init__(self, etcd: Etcd, subnets: str) -> None:
        self._etcd = etcd
        self._subnets = subnets
        self._items: dict[str, Item] = {}
        self._told: tuple[Lease, ...] | None = None
        #: Whether something may have come since the leases were read last.
        self._stirred = True
        self._watch: EtcdWatch | None = None
        self._lock = Lock()
        self._closed = False

    @override
    def poll(self, timeout_s: float) -> Sequence[Lease] | None:
        deadline = monotonic() + timeout_s
        watch = self._watch or self._list()
        while not self._closed:
            if self._stirred:
                self._stirred = False
                leases = _leases([self._items[key] for key in sorted(self._items)])
                if leases != self._told:
                    self._told = leases
                    return leases
            left_s = deadline - monotonic()
            if left_s <= 0:
                return None
            try:
                self._apply(watch.poll(left_s))
            except NotFound:
                watch = self._list()
        return None

    @override
    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self._watch is not None:
                self._watch.close()

    def _list(self) -> EtcdWatch:
        found = self._etcd.range(self._subnets)
        self._items = {item.key: item for item in found.items}
        self._stirred = True
        with self._lock:
            if self._watch is not None:
                self._watch.close()
            watch = self._watch = self._etcd.watch(self._subnets, found.revision)
            if self._closed:
                watch.close()
        return watch

    def _apply(self, changes: Iterable[Change]) -> None:
        for change in changes:
            self._stirred = True
            if change.item is None:
                self._items.pop(change.key, None)
            else:
                self._items[change.key] = change.item

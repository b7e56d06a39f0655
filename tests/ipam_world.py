"""A small cluster's addresses in a memory store: pools, nodes, and the operations on them."""

from korat.core.ipam.assign import auto_assign
from korat.core.ipam.assign_ip import Wish, assign_ip
from korat.core.ipam.block import address_of, handle_at, is_resting
from korat.core.ipam.draw import Holder
from korat.core.ipam.instant import NANOSECONDS, Moment, seconds_of
from korat.core.ipam.release import Return, release_by_handle, release_ips
from korat.core.ipam.view import Demand
from korat.core.model.codec import dump, resource_of
from korat.core.model.default import apply as fill
from korat.core.model.ipam import block_key
from korat.core.model.kind import KINDS
from korat.core.model.kubernetes import decode_any
from korat.core.net.address import Addr, Family, Prefix
from korat.drivers.store.ipam import run
from korat.drivers.store.memory import MemoryStore

START_S = seconds_of("2026-01-02T03:04:05Z")


def at(seconds=0, dice=0):
    """A moment of the world's own time."""
    return Moment((START_S + seconds) * NANOSECONDS, dice)


def made(kind, name, spec=None, **metadata):
    """An object as a user would write it."""
    raw = {
        "kind": kind,
        "apiVersion": KINDS[kind].api_version,
        "metadata": {"name": name, **metadata},
    }
    (resource,) = decode_any({**raw, "spec": spec or {}})
    return fill(resource)


class World:
    """The store, and the operations as one call each."""

    def __init__(self, store=None):
        self.store = store or MemoryStore()
        self.now = at()

    def put(self, kind, name, spec=None, **metadata):
        resource = made(kind, name, spec, **metadata)
        return self.store.create(resource.key, dump(resource))

    def pool(self, name="pool", cidr="10.0.0.0/24", blockSize=28, **spec):  # noqa: N803 - Calico's name
        return self.put("IPPool", name, {"cidr": cidr, "blockSize": blockSize, **spec})

    def run(self, operation):
        return run(self.store, operation)

    def assign(self, host="n1", number=1, handle=None, family=Family.V4, **fields):
        attributes = {"node": host, "pod": handle or "p"}
        holder = Holder(handle, attributes)
        demand = Demand(host=host, family=family, number=number, holder=holder, **fields)
        return self.run(auto_assign(demand, self.now))

    def addresses(self, *args, **fields):
        """What an assignment gives, as text."""
        return [str(given.addr) for given in self.assign(*args, **fields).given]

    def assign_ip(self, addr, host="n1", handle=None):
        wish = Wish(Addr.parse(addr), host, Holder(handle, {"node": host}))
        return self.run(assign_ip(wish, self.now))

    def release(self, *addrs, **which):
        return self.run(
            release_ips([Return(Addr.parse(each), **which) for each in addrs], self.now)
        )

    def release_handle(self, handle):
        return [str(addr) for addr in self.run(release_by_handle(handle, self.now))]

    def objects(self, kind):
        return [resource_of(record) for record in self.store.list([kind]).records]

    def names(self, kind):
        return [record.key.name for record in self.store.list([kind]).records]

    def block(self, cidr):
        records = self.store.list([block_key(Prefix.parse(cidr))]).records
        return resource_of(records[0]) if records else None

    def held(self):
        """Every address that somebody has, with its handle."""
        return {
            str(address_of(block, ordinal)): handle_at(block, ordinal)
            for block in self.objects("IPAMBlock")
            for ordinal, index in enumerate(block.spec.allocations)
            if index is not None and not is_resting(block, ordinal)
        }

    def handles(self):
        return {h.metadata.name: h.spec.block for h in self.objects("IPAMHandle")}

"""host-local's reservations as files, in the very format of containernetworking's host-local.

One folder per network (``address_folder``), with ``last_reserved_ip.<n>`` for each range set. The
real host-local may use the same folder at the same time. Not for which address is next;
``korat.core.ipam.hostlocal`` says that.
Source: containernetworking/plugins, plugins/ipam/host-local/backend/disk.
"""

from collections.abc import Callable, Collection, Mapping, Sequence

from korat.agent.address_folder import AddressFolder, address_of
from korat.agent.address_source import AddressRequest
from korat.core.ipam.hostlocal import Owner, RangeSet, State, assign, range_sets
from korat.core.net.address import Addr, Prefix

DATA_DIR = "/var/lib/cni/networks"

_LAST = "last_reserved_ip."


class Reservations:
    """The addresses given out in one network on this node."""

    def __init__(self, network: str, data_dir: str = DATA_DIR) -> None:
        self._folder = AddressFolder(data_dir, network)

    def assign(
        self,
        sets: Sequence[RangeSet],
        owner: Owner,
        requested: Collection[Addr] = (),
        heir_of: Owner | None = None,
    ) -> tuple[Addr, ...]:
        """Reserve one address of each set; what the owner, or whom it follows, has is kept.

        Raises:
            Unavailable: a set has no free address, or the folder cannot be used.
            Conflict, Invalid: a requested address cannot be had.
        """
        with self._folder.locked():
            state = self._state()
            if heir_of is not None:
                state = self._inherit(state, heir_of, owner)
            addrs = assign(sets, state, owner, requested)
            for place, addr in enumerate(addrs):
                if addr not in state.held:
                    self._folder.put(str(addr), f"{owner.container_id}\r\n{owner.ifname}")
                    self._folder.put(f"{_LAST}{place}", str(addr))
            return addrs

    def release(self, owner: Owner) -> tuple[Addr, ...]:
        """Free what the owner holds and return it; empty when it holds nothing."""
        with self._folder.locked():
            addrs = self._state().of(owner)
            for addr in addrs:
                self._folder.remove(str(addr))
            return addrs

    def held(self) -> Mapping[Addr, Owner]:
        """Who holds what."""
        with self._folder.locked():
            return self._state().held

    def _state(self) -> State:
        held: dict[Addr, Owner] = {}
        last: dict[int, Addr] = {}
        for name in self._folder.names():
            addr = address_of(name)
            if addr is not None:
                held[addr] = _owner(self._folder.lines(name))
            elif name.startswith(_LAST) and name[len(_LAST) :].isdecimal():
                recent = address_of(self._folder.lines(name)[0].strip())
                if recent is not None:
                    last[int(name[len(_LAST) :])] = recent
        return State(held, last)

    def _inherit(self, state: State, old: Owner, new: Owner) -> State:
        held = dict(state.held)
        for addr in state.of(old):
            self._folder.put(str(addr), f"{new.container_id}\r\n{new.ifname}")
            held[addr] = new
        return State(held, state.last)


class HostLocal:
    """The host-local IPAM plugin, in process: what a configuration's ``ipam`` part asks for."""

    def __init__(self, pod_cidrs: Callable[[], Sequence[Prefix]]) -> None:
        self._pod_cidrs = pod_cidrs

    def assign(self, request: AddressRequest) -> tuple[Addr, ...]:
        """Addresses for one interface; the same again when it asks again.

        Raises:
            Invalid: the configuration or a requested address is wrong.
            Unavailable: no address is free, or the node has no pod CIDR yet.
            Conflict: a requested address is another's.
        """
        sets = self._sets(request.ipam)
        files = self._files(request.network, request.ipam)
        return files.assign(sets, request.owner, request.requested, request.heir_of)

    def release(self, request: AddressRequest) -> tuple[Addr, ...]:
        """Free an interface's addresses and return them; needs no pod CIDR."""
        return self._files(request.network, request.ipam).release(request.owner)

    def of(self, network: str, ipam: Mapping[str, object], owner: Owner) -> tuple[Addr, ...]:
        """An interface's addresses."""
        held = self._files(network, ipam).held()
        return tuple(sorted(addr for addr, holder in held.items() if holder == owner))

    def owners(self, network: str, ipam: Mapping[str, object]) -> frozenset[Owner]:
        """Everybody who has an address of the network on this node."""
        return frozenset(self._files(network, ipam).held().values())

    def check(self, ipam: Mapping[str, object]) -> None:
        """Raise what an ``assign`` would for the configuration's or the node's sake.

        Raises:
            Invalid: the configuration is wrong.
            Unavailable: the node has no pod CIDR yet.
        """
        self._sets(ipam)

    def _sets(self, ipam: Mapping[str, object]) -> tuple[RangeSet, ...]:
        return range_sets(ipam, self._pod_cidrs())

    def _files(self, network: str, ipam: Mapping[str, object]) -> Reservations:
        data_dir = ipam.get("dataDir") or DATA_DIR
        return Reservations(network, str(data_dir))


def _owner(lines: Sequence[str]) -> Owner:
    """Who wrote the file; older host-locals wrote no interface, and that matches none."""
    return Owner(lines[0], lines[1] if len(lines) > 1 else "")

"""The calico-ipam plugin, in process: addresses from Calico's pools, by the store.

A container's addresses are found by its handle, ``<network>.<container id>``; an address says
nothing of the interface it is on. What a pod's annotations ask for goes before its namespace's,
and those before the network configuration.
Source: Calico cni-plugin/pkg/ipamplugin, and the annotations of cni-plugin/internal/pkg/utils.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from korat.agent.address_source import AddressRequest
from korat.core.errors import Invalid, KoratError, Problem, Unavailable
from korat.core.ipam.assign import auto_assign
from korat.core.ipam.assign_ip import Wish, assign_ip
from korat.core.ipam.block import address_of, ordinals_of
from korat.core.ipam.draw import Holder
from korat.core.ipam.hostlocal import Owner
from korat.core.ipam.release import release_by_handle
from korat.core.ipam.view import Demand
from korat.core.model.codec import resource_of
from korat.core.model.ipam import IPAMBlock, IPAMHandle, block_key, handle_key
from korat.core.model.key import Key
from korat.core.model.kubernetes.profile import namespace_profile_name
from korat.core.model.label import IP_ADDRS, IP_POOLS
from korat.core.model.resource import Resource
from korat.core.net.address import Addr, Family, Prefix
from korat.drivers.store.ipam import now, run
from korat.ports import Record, Store

_WORDS = {"true": True, "1": True, "false": False, "0": False, "": None}
_ASSIGN = {Family.V4: ("assign_ipv4", True), Family.V6: ("assign_ipv6", False)}
_POOLS = {Family.V4: "ipv4_pools", Family.V6: "ipv6_pools"}


@dataclass(frozen=True, slots=True)
class CalicoIpam:
    """Calico's address management for the workloads of one node."""

    store: Store
    node_name: str

    def assign(self, request: AddressRequest) -> tuple[Addr, ...]:
        """Addresses for one interface; the same again when it asks again.

        Raises:
            Invalid: the configuration, an annotation or a requested address is wrong.
            Unavailable: no address is free, or the store is away.
            Conflict: a requested address is another's.
        """
        there = self.of(request.network, request.ipam, request.owner)
        handle = _handle(request.network, request.owner)
        holder = Holder(handle, self._attributes(request))
        try:
            found = list(there)
            named = self._named(request)
            found += [self._take(addr, holder) for addr in named if addr not in there]
            # An earlier try may have been cut off between the two.
            has = {addr.family for addr in there} if not named else set(Family)
            for demand in self._demands(request, holder):
                found += self._draw(demand) if demand.family not in has else ()
        except KoratError:
            # Of two addresses one alone is worth nothing.
            run(self.store, release_by_handle(handle, now()))
            raise
        return tuple(sorted(found))

    def release(self, request: AddressRequest) -> tuple[Addr, ...]:
        """Free a container's addresses and return them.

        Raises:
            Unavailable: the store is away.
        """
        return run(self.store, release_by_handle(_handle(request.network, request.owner), now()))

    def of(self, network: str, _ipam: Mapping[str, object], owner: Owner) -> tuple[Addr, ...]:
        """A container's addresses, IPv4 first.

        Raises:
            Unavailable: the store is away.
        """
        return addresses_of(self.store, _handle(network, owner))

    def owners(self, network: str, _ipam: Mapping[str, object]) -> frozenset[Owner]:
        """Every container of this node that has an address of the network.

        Raises:
            Unavailable: the store is away.
        """
        prefix = f"{network}."
        return frozenset(
            Owner(handle.removeprefix(prefix), "")
            for block in _blocks(self.store.list(["IPAMBlock"]).records)
            for attribute in block.spec.attributes
            if attribute.secondary.get("node") == self.node_name
            if (handle := attribute.handle_id or "").startswith(prefix)
        )

    def check(self, ipam: Mapping[str, object]) -> None:
        """Raise what an ``assign`` would for the configuration's or the store's sake.

        Raises:
            Invalid: the configuration is wrong.
            Unavailable: there is no pool at all, or the store is away.
        """
        list(_families(ipam))
        if not self.store.list(["IPPool"]).records:
            raise Unavailable("there is no IPPool to take addresses from", "create one")

    def _attributes(self, request: AddressRequest) -> dict[str, str]:
        pod = request.pod
        whose = {"namespace": pod.metadata.namespace, "pod": pod.metadata.name} if pod else {}
        return {"node": self.node_name, "timestamp": now().text, **whose}

    def _named(self, request: AddressRequest) -> tuple[Addr, ...]:
        """Addresses that the runtime or the pod asks for by name."""
        if request.requested:
            return request.requested
        text = request.pod.metadata.annotations.get(IP_ADDRS) if request.pod else None
        return tuple(_addresses(_listed(text, IP_ADDRS))) if text else ()

    def _take(self, addr: Addr, holder: Holder) -> Addr:
        run(self.store, assign_ip(Wish(addr, self.node_name, holder), now()))
        return addr

    def _draw(self, demand: Demand) -> tuple[Addr, ...]:
        found = run(self.store, auto_assign(demand, now()))
        if found.missing:
            raise Unavailable(found.shortage, "delete pods, or give the pools more addresses")
        return tuple(given.addr for given in found.given)

    def _demands(self, request: AddressRequest, holder: Holder) -> Iterator[Demand]:
        pod = request.pod
        for family in _families(request.ipam):
            yield Demand(
                host=self.node_name,
                family=family,
                holder=holder,
                namespace=pod.metadata.namespace if pod else "",
                pools=self._pools(request, family),
            )

    def _pools(self, request: AddressRequest, family: Family) -> tuple[str, ...]:
        name = IP_POOLS[family]
        for annotations in self._annotations(request):
            if annotations.get(name):
                return _listed(annotations[name], name)
        written = request.ipam.get(_POOLS[family], ())
        if not isinstance(written, list | tuple):
            rule = "is not a list of pools"
            raise Invalid([Problem("", f"ipam.{_POOLS[family]}", written, rule)])
        return tuple(map(str, written))

    def _annotations(self, request: AddressRequest) -> Iterator[Mapping[str, str]]:
        if request.pod is None:
            return
        meta = request.pod.metadata
        yield meta.annotations
        key = Key("Profile", "", namespace_profile_name(meta.namespace))
        for record in self.store.list([key]).records:
            yield resource_of(record).metadata.annotations


def addresses_of(store: Store, handle: str) -> tuple[Addr, ...]:
    """All addresses of a handle, in order.

    Raises:
        Unavailable: the store is away.
    """
    found = _one(store, handle_key(handle))
    if not isinstance(found, IPAMHandle) or not found.spec.block:
        return ()
    keys = [block_key(Prefix.parse(cidr)) for cidr in found.spec.block]
    return tuple(
        sorted(
            address_of(block, ordinal)
            for block in _blocks(store.list(keys).records)
            for ordinal in ordinals_of(block, handle)
        )
    )


def _one(store: Store, key: Key) -> Resource | None:
    return next((resource_of(record) for record in store.list([key]).records), None)


def _blocks(records: Iterable[Record]) -> list[IPAMBlock]:
    found = (resource_of(record) for record in records)
    return [each for each in found if isinstance(each, IPAMBlock)]


def _handle(network: str, owner: Owner) -> str:
    return f"{network}.{owner.container_id}"


def _families(ipam: Mapping[str, object]) -> Iterator[Family]:
    """The IP versions of which the configuration wants an address each."""
    for family, (key, default) in _ASSIGN.items():
        text = str(ipam.get(key, "")).lower()
        if text not in _WORDS:
            raise Invalid([Problem("", f"ipam.{key}", ipam[key], "must be true or false")])
        wanted = _WORDS[text]
        if default if wanted is None else wanted:
            yield family


def _listed(text: str, name: str) -> tuple[str, ...]:
    """An annotation's JSON list of words.

    Raises:
        Invalid: it is none.
    """
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, list) or not all(isinstance(word, str) for word in found):
        raise Invalid([Problem("pod", f"metadata.annotations[{name}]", text, "is no JSON list")])
    return tuple(found)


def _addresses(words: Iterable[str]) -> Iterator[Addr]:
    for word in words:
        try:
            yield Addr.parse(word)
        except ValueError as error:
            rule = "is not an IP address"
            raise Invalid(
                [Problem("pod", f"metadata.annotations[{IP_ADDRS}]", word, rule)]
            ) from error

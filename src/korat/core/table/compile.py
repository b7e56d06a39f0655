"""From a cluster to what one node enforces: peer classes and verdict tables, change by change.

For a local endpoint its own end of each rule is a constant, and for a peer class the other end is
too; what remains of all its policy is a function of protocol and ports, painted once. Only
predicates of policies that select local endpoints split classes.

A ``NodeCompiler`` is told what changes and works out only what depends on it: a pod elsewhere is
one entry of a map; a policy touches the endpoints that it selects and the classes that it asks for.
What it says depends on what there is, not on how that came about.

An endpoint with several addresses of one family has one table per class for all of them. Where
policy tells its addresses apart, the table allows only what it would for every one of them.
"""

from collections import defaultdict
from collections.abc import Iterable

from korat.core.model.key import Key
from korat.core.net.address import Family, Prefix
from korat.core.pmap import PMap
from korat.core.policy.cluster import Cluster
from korat.core.policy.entity import AddressSet, Endpoint, Policy, Profile, Slice
from korat.core.policy.inventory import owner_of
from korat.core.policy.outcome import Direction
from korat.core.policy.scope import ServiceName
from korat.core.table.atom import Atoms
from korat.core.table.book import AddressBook
from korat.core.table.governor import Governors
from korat.core.table.member import Membership, Questions
from korat.core.table.owner import Owner, Owners
from korat.core.table.paint import IntricateError
from korat.core.table.planner import Planned, Planner
from korat.core.table.predicate import InNets, Predicate
from korat.core.table.subject import Spot, Subjects
from korat.core.table.value import (
    DirectionPolicy,
    LocalEndpoint,
    NodePolicy,
    PeerClasses,
    Place,
    VerdictTable,
)

_Way = tuple[Family, Direction]
_WAYS: tuple[_Way, ...] = tuple((family, direction) for family in Family for direction in Direction)


def compile_node(cluster: Cluster, node: str) -> NodePolicy:
    """All that a node enforces for its workloads, from scratch.

    Raises:
        IntricateError: a table would have too many pieces.
    """
    compiler = NodeCompiler(node)
    for name, profile in cluster.profiles.items():
        compiler.set_profile(name, profile)
    for endpoint in (*cluster.endpoints, *map(owner_of, cluster.hosts)):
        compiler.set_endpoint(endpoint.key, endpoint)
    for group in cluster.sets:
        compiler.set_address_set(group.key, group)
    for slices in cluster.services.values():
        for each in slices:
            compiler.set_slice(each.key, each)
    for place, tier in enumerate(cluster.tiers):
        compiler.set_tier(tier.name, float(place), denies=tier.denies)
        for policy in tier.policies:
            compiler.set_policy(policy.key, policy)
    return compiler.settle()


def workloads_of(local: Iterable[Endpoint]) -> tuple[LocalEndpoint, ...]:
    """What of the node's endpoints is needed beside policy."""
    return tuple(LocalEndpoint(e.key, e.interface, e.addresses, e.spoof_allowed) for e in local)


def local_endpoints(cluster: Cluster, node: str) -> list[Endpoint]:
    """A node's endpoints by interface; when two claim one interface, the first by key has it."""
    by_interface: dict[str, Endpoint] = {}
    for endpoint in cluster.endpoints:
        if endpoint.node == node and endpoint.interface:
            by_interface.setdefault(endpoint.interface, endpoint)
    return [by_interface[name] for name in sorted(by_interface)]


def _places(endpoints: Iterable[Endpoint], family: Family) -> dict[Place, list[str]]:
    """The addresses of endpoints, and the interfaces that have them."""
    found: defaultdict[Place, list[str]] = defaultdict(list)
    for endpoint in endpoints:
        for addr in endpoint.addresses_of(family):
            found[addr.value,].append(endpoint.interface)
    return dict(found)


class NodeCompiler:
    """One node's view of the cluster; ``settle`` after any number of changes says what follows.

    ``members`` are those of whom the predicates are true that were asked for, as of that.
    """

    def __init__(self, node: str) -> None:
        self._node = node
        atoms = self._atoms = Atoms()
        self._owners = Owners()
        self._books = {family: AddressBook(family, atoms) for family in Family}
        self._planners = {
            (family, direction): Planner(direction, family, atoms, self._owners)
            for family, direction in _WAYS
        }
        self._subjects = {way: Subjects() for way in _WAYS}
        self._tables: dict[_Way, PMap[Spot, VerdictTable]] = {way: PMap() for way in _WAYS}
        self._governors = Governors()
        self._profiles: dict[str, Profile] = {}
        self._claims: dict[Key, tuple[tuple[Prefix, Owner], ...]] = {}
        self._local: dict[Key, Endpoint] = {}
        self._claimants: defaultdict[str, set[Key]] = defaultdict(set)
        self._holders: dict[str, Endpoint] = {}
        self._sorted: tuple[Endpoint, ...] = ()
        self._watched: dict[Family, dict[Place, list[str]]] = {}
        self._stale: set[str] = set()
        self._plans: dict[str, dict[_Way, Planned]] = {}
        self._workloads: tuple[LocalEndpoint, ...] = ()
        self._questions = Questions(atoms, self._owners)
        self.members = Membership({family: {} for family in Family})

    @property
    def local(self) -> tuple[Endpoint, ...]:
        """The node's own endpoints as of the last ``settle``, by interface."""
        return self._sorted

    def set_endpoint(self, key: Key, endpoint: Endpoint | None) -> None:
        """An endpoint anywhere came, changed, or (None) went."""
        claims: list[tuple[Prefix, Owner]] = []
        if endpoint is not None and endpoint.addresses:
            owner = self._owners.labelled(endpoint.labels, endpoint.ports)
            claims = [(Prefix.of(addr), owner) for addr in endpoint.addresses]
        self._claim(key, claims)
        before = self._local.pop(key, None)
        here = endpoint is not None and endpoint.node == self._node and bool(endpoint.interface)
        if before is not None:
            self._claimants[before.interface].discard(key)
            self._stale.add(before.interface)
        if endpoint is not None and here:
            self._local[key] = endpoint
            self._claimants[endpoint.interface].add(key)
            self._stale.add(endpoint.interface)
        if before is not None or here:
            self._governors.set_local(key, endpoint if here else None)

    def set_address_set(self, key: Key, group: AddressSet | None) -> None:
        """A network set came, changed, or (None) went."""
        claims: list[tuple[Prefix, Owner]] = []
        if group is not None and group.nets:
            owner = self._owners.labelled(group.labels)
            claims = [(net, owner) for net in group.nets]
        self._claim(key, claims)

    def set_slice(self, key: Key, part: Slice | None) -> None:
        """Some endpoints of a service came, changed, or (None) went."""
        claims: list[tuple[Prefix, Owner]] = []
        if part is not None and part.service.name:
            ports = frozenset(part.ports)
            for family in {addr.family for addr in part.addresses}:
                owner = self._owners.serving((part.service, family, ports))
                own = (addr for addr in part.addresses if addr.family is family)
                claims += [(Prefix.of(addr), owner) for addr in own]
        self._claim(key, claims)

    def set_policy(self, key: Key, policy: Policy | None) -> None:
        """A policy came, changed, or (None) went."""
        self._governors.set_policy(key, policy)

    def set_tier(self, name: str, order: float | None, *, denies: bool) -> None:
        """A stored tier came or changed; ``order`` None is after all others."""
        self._governors.set_tier(name, order, denies=denies)

    def drop_tier(self, name: str) -> None:
        """A tier is not stored any more."""
        self._governors.drop_tier(name)

    def set_profile(self, name: str, profile: Profile | None) -> None:
        """A profile's rules came, changed, or (None) went."""
        if profile is None:
            self._profiles.pop(name, None)
        else:
            self._profiles[name] = profile
        self._stale |= {each.interface for each in self._local.values() if name in each.profiles}

    def ask(self, wanted: frozenset[Predicate]) -> None:
        """From the next ``settle`` on ``members`` is about these predicates and no others."""
        self._questions.ask(wanted)

    def settle(self) -> NodePolicy:
        """What the node enforces from now on.

        Raises:
            IntricateError: a table has too many pieces; the next call tells again.
        """
        self._questions.turn(self._hold())
        self._replan()
        self._learn()
        changed, self._owners.changed = self._owners.changed, set()
        found: dict[Family, dict[Direction, PeerClasses]] = {}
        for family, book in self._books.items():
            masks = {d: self._planners[family, d].peer_mask for d in Direction}
            found[family] = book.settle(changed, masks, self._questions.asked)
        self._remember_members()
        self._atoms.settle()
        self._place()
        for way in _WAYS:
            self._tables[way] = self._tables[way].changed(self._subjects[way].drained())
        intricate = (why for way in _WAYS for why in self._subjects[way].intricate())
        for why in intricate:
            raise IntricateError(why)
        return NodePolicy(
            self._workloads,
            {(f, d): DirectionPolicy(found[f][d], self._tables[f, d]) for f, d in _WAYS},
        )

    def _claim(self, key: Key, claims: Iterable[tuple[Prefix, Owner]]) -> None:
        """An object's owners have these addresses, and no longer those that they had for it."""
        before = self._claims.pop(key, ())
        after = tuple(claims)
        for net, owner in after:
            self._books[net.family].claim(net, owner)
        for net, owner in before:
            self._books[net.family].leave(net, owner)
        if after:
            self._claims[key] = after
        for owner in {owner for _, owner in before}:
            self._owners.release(owner)

    def _remember_members(self) -> None:
        sets = {family: book.members.sets for family, book in self._books.items()}
        if any(sets[family] is not self.members.families[family] for family in Family):
            self.members = Membership(sets)

    def _hold(self) -> set[str | ServiceName]:
        """Find out which endpoint has each interface that was touched.

        Returns the port names and services that have another meaning now.
        """
        by_key = self._governors.stale
        self._stale |= {self._local[key].interface for key in by_key if key in self._local}
        by_key.clear()
        topics, self._owners.topics = self._owners.topics, set()
        if topics:
            outdated = {p for planner in self._planners.values() for p in planner.outdate(topics)}
            for interface, plans in self._plans.items():
                if outdated.intersection(plans.values()):
                    self._stale.add(interface)
        moved = False
        for interface in self._stale:
            claimants = self._claimants[interface]
            holder = self._local[min(claimants)] if claimants else None
            moved |= holder is not self._holders.get(interface)
            if holder is not None:
                self._holders[interface] = holder
            else:
                del self._claimants[interface]
                self._holders.pop(interface, None)
        if moved:
            self._sorted = tuple(self._holders[name] for name in sorted(self._holders))
            self._workloads = workloads_of(self._sorted)
            self._watched = {family: _places(self._sorted, family) for family in Family}
        return topics

    def _replan(self) -> None:
        """New plans for the interfaces that were touched; old ones go only after that."""
        before = [p for name in self._stale for p in self._plans.pop(name, {}).items()]
        for interface in self._stale:
            endpoint = self._holders.get(interface)
            if endpoint is None:
                continue
            plans = self._plans[interface] = {}
            for family, direction in _WAYS:
                if endpoint.addresses_of(family):
                    tiers = self._governors.of(endpoint.key, direction)
                    planner = self._planners[family, direction]
                    plans[family, direction] = planner.plan(
                        tiers, endpoint.profiles, self._profiles
                    )
        for way, planned in before:
            self._planners[way].release(planned)

    def _learn(self) -> None:
        """Atoms that came and went."""
        for atom, bit in self._atoms.dead.items():
            if isinstance(atom, InNets):
                for book in self._books.values():
                    book.forget(atom)
            else:
                self._owners.forget(atom, bit)
        for atom, bit in self._atoms.born.items():
            if isinstance(atom, InNets):
                for book in self._books.values():
                    book.learn(atom, bit)
            else:
                self._owners.learn(atom, bit)

    def _place(self) -> None:
        """Give tables to the interfaces that were touched, and to classes that came."""
        for way in _WAYS:
            side = self._books[way[0]].sides[way[1]]
            self._subjects[way].turn(side.born, side.dead)
            side.told()
        stale, self._stale = self._stale, set()
        for interface in stale | self._stirred():
            plans = self._plans.get(interface, {})
            for way in _WAYS:
                planned = plans.get(way)
                if planned is None:
                    self._subjects[way].take(interface)
                else:
                    own = self._own(interface, way[0], planned)
                    side = self._books[way[0]].sides[way[1]]
                    self._subjects[way].put(interface, planned, own, side)

    def _stirred(self) -> set[str]:
        """The interfaces of whose addresses something else may be true now."""
        return {
            name
            for family, watched in self._watched.items()
            for place in self._books[family].stirred(watched)
            for name in watched[place]
        }

    def _own(self, interface: str, family: Family, planned: Planned) -> tuple[int, ...]:
        mask, book = planned.plan.own_mask, self._books[family]
        addresses = self._holders[interface].addresses_of(family)
        return tuple(sorted({book.truth_at(addr) & mask for addr in addresses}))

"""Owners: whatever has addresses and makes something true of them.

Endpoints with the same labels and port names are one owner, for policy cannot tell them apart; so
a change of policy looks at as many owners as there are kinds of pods, not at every pod. A network
set is an owner, and so are the endpoints of a service with the same ports. What is true of an
owner's addresses is kept as bits, up to date with the atoms in use.
"""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet

from korat.core.net.address import Family
from korat.core.net.port import PROTOCOLS_WITH_PORTS
from korat.core.policy.entity import NamedPort, SlicePort
from korat.core.policy.scope import ServiceName
from korat.core.selector import Selector
from korat.core.selector.index import LabelIndex
from korat.core.table.atom import Atom, MeansPort
from korat.core.table.predicate import HasLabels, InService, OwnsPort, Serves

#: What makes a service's endpoints alike: the service, the IP version, the ports.
Served = tuple[ServiceName, Family, frozenset[SlicePort]]
Labels = Mapping[str, str]


class Owner:
    """Something that has addresses; ``truth`` is what is true of all of them, as bits."""

    __slots__ = ("labels", "ports", "served", "solo", "truth", "uses")

    def __init__(
        self, labels: Labels, ports: tuple[NamedPort, ...] = (), served: Served | None = None
    ) -> None:
        self.labels = labels
        self.ports = ports
        self.served = served
        self.truth = 0
        self.uses = 0
        #: The owner alone, as most addresses have it.
        self.solo = (self,)


class Owners:
    """All owners, what is true of each, and what port names and services mean.

    ``changed`` has the owners whose truth changed, and ``topics`` the names and services whose
    meaning did, since somebody cleared them.
    """

    def __init__(self) -> None:
        self.changed: set[Owner] = set()
        self.topics: set[str | ServiceName] = set()
        self._index: LabelIndex[Owner] = LabelIndex()
        #: The labels are held by the owner, so that their id stays theirs.
        self._labelled: dict[tuple[int, tuple[NamedPort, ...]], Owner] = {}
        self._served: dict[Served, Owner] = {}
        self._of_service: dict[ServiceName, set[Owner]] = {}
        self._of_port: dict[str, dict[tuple[int, int], set[Owner]]] = {}
        self._label_bits: dict[Selector, int] = {}
        self._port_bits: dict[Selector | None, dict[NamedPort, int]] = {}
        self._service_bits: dict[ServiceName, dict[Atom, int]] = {}

    def labelled(self, labels: Labels, ports: tuple[NamedPort, ...] = ()) -> Owner:
        """The owner of the addresses of endpoints or sets like this; one use more of it.

        Labels that are one object are known to be equal at once; equal ones may have two owners.
        """
        key = id(labels), ports
        owner = self._labelled.get(key)
        if owner is None:
            owner = self._labelled[key] = Owner(labels, ports)
            self._index.set_item(owner, labels)
            for port in ports:
                self._mean(port, owner)
            owner.truth = self._truth(owner)
        owner.uses += 1
        return owner

    def serving(self, served: Served) -> Owner:
        """The owner of the addresses of a service's endpoints like this; one use more of it."""
        owner = self._served.get(served)
        if owner is None:
            owner = self._served[served] = Owner({}, (), served)
            self._of_service.setdefault(served[0], set()).add(owner)
            self.topics.add(served[0])
            owner.truth = self._truth(owner)
        owner.uses += 1
        return owner

    def release(self, owner: Owner) -> None:
        """One use less; an owner that nobody uses is forgotten."""
        owner.uses -= 1
        if owner.uses:
            return
        if owner.served is not None:
            del self._served[owner.served]
            service = owner.served[0]
            self._of_service[service].discard(owner)
            if not self._of_service[service]:
                del self._of_service[service]
            self.topics.add(service)
            return
        del self._labelled[id(owner.labels), owner.ports]
        self._index.remove_item(owner)
        for port in owner.ports:
            self._mean_no_more(port, owner)

    def of(self, owner: OwnsPort | Serves, family: Family) -> Iterable[tuple[int, int]]:
        """Every (protocol, port) that a port's name or a service stands for, sorted."""
        if isinstance(owner, OwnsPort):
            return sorted(self._of_port.get(owner.name, {}))
        served = (each.served for each in self._of_service.get(owner.service, ()))
        return sorted({(p.protocol, p.port) for s in served if s and s[1] is family for p in s[2]})

    def learn(self, atom: Atom, bit: int) -> None:
        """From now on the atom has a bit in the truth of whom it is true of."""
        match atom:
            case HasLabels(selector):
                self._index.add_selector(selector)
                self._label_bits[selector] = bit
            case MeansPort(OwnsPort(selector, name), protocol, port):
                if selector is not None:
                    self._index.add_selector(selector)
                meaning = NamedPort(name, protocol, port)
                self._port_bits.setdefault(selector, {})[meaning] = bit
            case MeansPort(Serves(service)) | InService(service):
                self._service_bits.setdefault(service, {})[atom] = bit
            case _:
                return
        for owner in self._true_of(atom):
            owner.truth |= 1 << bit
            self.changed.add(owner)

    def forget(self, atom: Atom, bit: int) -> None:
        """The atom has no bit any more."""
        for owner in self._true_of(atom):
            owner.truth &= ~(1 << bit)
            self.changed.add(owner)
        match atom:
            case HasLabels(selector):
                del self._label_bits[selector]
                self._unlisten(selector)
            case MeansPort(OwnsPort(selector, name), protocol, port):
                bits = self._port_bits[selector]
                del bits[NamedPort(name, protocol, port)]
                if not bits:
                    del self._port_bits[selector]
                if selector is not None:
                    self._unlisten(selector)
            case MeansPort(Serves(service)) | InService(service):
                bits_of_service = self._service_bits[service]
                del bits_of_service[atom]
                if not bits_of_service:
                    del self._service_bits[service]
            case _:
                pass

    def _true_of(self, atom: Atom) -> AbstractSet[Owner]:
        """Those of whom the atom is true."""
        match atom:
            case HasLabels(selector):
                return self._index.matching(selector)
            case MeansPort(OwnsPort(selector, name), protocol, port):
                owners: set[Owner] = self._of_port.get(name, {}).get((protocol, port), set())
                return owners if selector is None else owners & self._index.matching(selector)
            case MeansPort(Serves(service), protocol, port):
                meant = SlicePort(protocol, port)
                serving = self._of_service.get(service, ())
                return {each for each in serving if each.served and meant in each.served[2]}
            case InService(service):
                return self._of_service.get(service, frozenset())
            case _:
                return frozenset()

    def _unlisten(self, selector: Selector) -> None:
        if selector not in self._label_bits and selector not in self._port_bits:
            self._index.remove_selector(selector)

    def _truth(self, owner: Owner) -> int:
        if owner.served is not None:
            return self._truth_of_served(owner.served)
        truth = 0
        matching = self._index.selectors_of(owner)
        for selector in matching:
            bit = self._label_bits.get(selector)
            truth |= 0 if bit is None else 1 << bit
        if owner.ports:
            for selector_or_none in (None, *matching):
                bits = self._port_bits.get(selector_or_none, {})
                for port in owner.ports:
                    truth |= 1 << bits[port] if port in bits else 0
        return truth

    def _truth_of_served(self, served: Served) -> int:
        service, _, ports = served
        truth = 0
        for atom, bit in self._service_bits.get(service, {}).items():
            meant = SlicePort(atom.protocol, atom.port) if isinstance(atom, MeansPort) else None
            if meant is None or meant in ports:
                truth |= 1 << bit
        return truth

    def _mean(self, port: NamedPort, owner: Owner) -> None:
        if port.protocol not in PROTOCOLS_WITH_PORTS:
            return
        meanings = self._of_port.setdefault(port.name, {})
        if port[1:] not in meanings:
            self.topics.add(port.name)
        meanings.setdefault((port.protocol, port.port), set()).add(owner)

    def _mean_no_more(self, port: NamedPort, owner: Owner) -> None:
        meanings = self._of_port.get(port.name, {})
        owners = meanings.get((port.protocol, port.port))
        if owners is None:
            return
        owners.discard(owner)
        if not owners:
            del meanings[port.protocol, port.port]
            self.topics.add(port.name)
            if not meanings:
                del self._of_port[port.name]

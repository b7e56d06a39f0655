"""What must change in the kernel to turn one ruleset into another: small transactions.

For: the node's apply step. The result depends on the two states only. Not for: repairing a table
that someone else changed; there ``Ruleset.text`` replaces the whole table.

The order within the transaction is what the kernel asks for: a thing exists before something
refers to it, and nothing refers to a thing when it goes.

1. declare new chains, sets and maps, all still empty
2. flush changed and removed chains, delete elements that go or change (or flush their lookup): all
   old references are gone
3. add elements, then rules
4. delete what is no longer there

What changes its nature under one name (a base chain that becomes a plain one) makes the whole table
be replaced: kernels refuse to lead to the new one as long as they still know the old one.

A packet that is on its way while the kernel commits sees the rules of before and the elements of
after. An element that leads it to a chain of the same transaction finds that chain still empty, and
an empty chain returns, which for policy is an allow; a map that was emptied sends it on to the
default. So the node goes by ``stages``: new things first, unreachable; then the switch; then the
old ones go, when no packet is left in them.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from korat.core.render.nft.ruleset import (
    TABLE,
    Lookup,
    NamedSet,
    Ruleset,
    VerdictMap,
    add_elements,
    add_rules,
    declare_chain,
    declare_lookup,
    delete_elements,
)
from korat.core.render.nft.statement import Key


def diff(old: Ruleset | None, new: Ruleset) -> str:
    """The transaction from ``old`` to ``new``; empty when they are equal.

    ``old`` None means that nothing is known: the table is replaced whole.
    Complexity: the size of both; lookups that are one object on both sides cost nothing.
    """
    if old is None or _changes_nature(old, new):
        return new.text
    lines = list(_Plan.of(old, new).lines())
    return "\n".join(lines) + "\n" if lines else ""


def stages(old: Ruleset | None, new: Ruleset) -> tuple[str, ...]:
    """The transactions from ``old`` to ``new``, one after the other; none when they are equal.

    No packet meets a chain or map that is empty because it is still, or already, in the making.
    Things that change their nature under one name cannot be there twice; they load the whole table,
    which is a new one to every packet.
    """
    if old is None or _changes_nature(old, new):
        return (new.text,)
    grown = _joined(new, old)
    shrinking = _joined(old, new)
    steps = (diff(old, grown), diff(grown, shrinking), diff(shrinking, new))
    return tuple(step for step in steps if step)


def _joined(more: Ruleset, first: Ruleset) -> Ruleset:
    """The first ruleset with what only the other one has."""
    return Ruleset({**more.lookups, **first.lookups}, {**more.chains, **first.chains})


@dataclass(frozen=True, slots=True)
class _Plan:
    """Which names are touched, and how; each tuple is sorted."""

    old: Ruleset
    new: Ruleset
    changed_chains: tuple[str, ...]

    @classmethod
    def of(cls, old: Ruleset, new: Ruleset) -> "_Plan":
        """Compare."""
        changed = (
            name
            for name in old.chains.keys() & new.chains.keys()
            if old.chains[name] is not new.chains[name] and old.chains[name] != new.chains[name]
        )
        return cls(old, new, tuple(sorted(changed)))

    def lines(self) -> Iterator[str]:
        """The commands in order."""
        old, new = self.old, self.new
        born_chains = sorted(new.chains.keys() - old.chains.keys())
        born_lookups = sorted(new.lookups.keys() - old.lookups.keys())
        dead_chains = sorted(old.chains.keys() - new.chains.keys())
        dead_lookups = sorted(old.lookups.keys() - new.lookups.keys())
        yield from self._declare(born_chains, born_lookups)
        yield from (f"flush chain {TABLE} {name}" for name in (*self.changed_chains, *dead_chains))
        yield from self._shrink(dead_lookups)
        yield from self._grow()
        for name in sorted((*self.changed_chains, *born_chains)):
            yield from add_rules(name, new.chains[name])
        yield from self._delete(dead_chains, dead_lookups)

    def _declare(self, chains: Iterable[str], lookups: Iterable[str]) -> Iterator[str]:
        yield from (declare_chain(name, self.new.chains[name]) for name in chains)
        yield from (declare_lookup(name, self.new.lookups[name]) for name in lookups)

    def _delete(self, chains: Iterable[str], lookups: Iterable[str]) -> Iterator[str]:
        for name in lookups:
            yield f"delete {_noun(self.old.lookups[name])} {TABLE} {name}"
        yield from (f"delete chain {TABLE} {name}" for name in chains)

    def _shrink(self, dead: Iterable[str]) -> Iterator[str]:
        """Take out elements, so that no element refers to a chain that goes."""
        for name in dead:
            lookup = self.old.lookups[name]
            if isinstance(lookup, VerdictMap) and lookup.elements:
                yield f"flush map {TABLE} {name}"
        for name, before, after in self._kept():
            if _refilled(before, after):
                yield f"flush {_noun(before)} {TABLE} {name}"
            else:
                yield from delete_elements(name, before, _only_in(before, after))

    def _grow(self) -> Iterator[str]:
        fresh = self.new.lookups.keys() - self.old.lookups.keys()
        kept = {name: (before, after) for name, before, after in self._kept()}
        for name in sorted(fresh | kept.keys()):
            if name in fresh:
                lookup = self.new.lookups[name]
                yield from add_elements(name, lookup, lookup.elements)
            else:
                before, after = kept[name]
                added = after.elements if _refilled(before, after) else _only_in(after, before)
                yield from add_elements(name, after, added)

    def _kept(self) -> Iterator[tuple[str, Lookup, Lookup]]:
        """Sets and maps on both sides whose elements differ."""
        for name in sorted(self.old.lookups.keys() & self.new.lookups.keys()):
            before, after = self.old.lookups[name], self.new.lookups[name]
            if before.elements is not after.elements:
                yield name, before, after


def _noun(lookup: Lookup) -> str:
    return "map" if isinstance(lookup, VerdictMap) else "set"


def _refilled(before: Lookup, after: Lookup) -> bool:
    """Whether an interval lookup is flushed and filled anew instead of losing elements.

    libnftables 1.0.6 looks through the whole lookup for every interval that is deleted: 1,000 out
    of 5,000 take it 39 s, and filling all 5,000 anew 0.1 s.
    """
    return before.interval and len(list(islice(_only_in(before, after), 2))) > 1


def _changes_nature(old: Ruleset, new: Ruleset) -> bool:
    """Whether a name stands for another kind of thing on the other side."""
    return any(
        _nature(old.lookups[name]) != _nature(new.lookups[name])
        for name in old.lookups.keys() & new.lookups.keys()
    ) or any(
        old.chains[name].base != new.chains[name].base
        for name in old.chains.keys() & new.chains.keys()
    )


def _nature(lookup: Lookup) -> tuple[object, ...]:
    return type(lookup), lookup.types, lookup.interval


def _only_in(left: Lookup, right: Lookup) -> Iterable[Key]:
    """The keys of ``left`` that ``right`` lacks or maps elsewhere."""
    if isinstance(left, NamedSet) and isinstance(right, NamedSet):
        return left.elements - right.elements
    if isinstance(left, VerdictMap) and isinstance(right, VerdictMap):
        other = right.elements.get
        # Most verdicts are one object on both sides, which saves comparing their fields.
        return [
            key
            for key, verdict in left.elements.items()
            if (found := other(key)) is not verdict and found != verdict
        ]
    raise TypeError("a set and a map are not compared")

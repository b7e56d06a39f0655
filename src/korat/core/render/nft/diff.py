"""What must change in the kernel to turn one ruleset into another: small transactions.

For: the node's apply step. The result depends on the two states only. Not for: repairing a table
that someone else changed; there ``Ruleset.text`` replaces the whole table.

The order within a transaction is what the kernel asks for: a thing exists before something refers
to it, and nothing refers to a thing when it goes.

1. declare new counters, and new chains, sets and maps, all still empty
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
old ones go, when no packet is left in them. Elements under a number that packets carry are such
things too: early when no packet carries it yet, late when none does any more.

The switch is one transaction, so that whoever comes between two of them is judged as before or as
after. Addresses that were led to their new classes before it would meet there what is decided about
those classes still, which may be more open than both. A packet under way while the switch commits
may be of its old class and meet what is decided now; its connection is judged again after that.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from korat.core.pmap import Difference, differences, set_differences
from korat.core.render.nft.key import Key
from korat.core.render.nft.ruleset import (
    TABLE,
    CounterMap,
    Lookup,
    NamedSet,
    NumberMap,
    Pace,
    Ruleset,
    VerdictMap,
    add_elements,
    add_rules,
    declare_chain,
    declare_counter,
    declare_lookup,
    delete_elements,
    is_interval,
)


def diff(old: Ruleset | None, new: Ruleset) -> str:
    """The transaction from ``old`` to ``new``; empty when they are equal.

    ``old`` None means that nothing is known: the table is replaced whole.
    Complexity: the size of both; of persistent maps, the size of what is not shared.
    """
    return "".join(_transactions(old, new, staged=False))


def stages(old: Ruleset | None, new: Ruleset) -> tuple[str, ...]:
    """The transactions from ``old`` to ``new``, one after the other; none when they are equal.

    No packet meets a chain or map that is empty because it is still, or already, in the making.
    Things that change their nature under one name cannot be there twice; they load the whole table,
    which is a new one to every packet.
    """
    return tuple(_transactions(old, new, staged=True))


def _transactions(old: Ruleset | None, new: Ruleset, *, staged: bool) -> Iterator[str]:
    if old is None or _changes_nature(old, new):
        yield new.text
        return
    whole = _Step(old, new)
    steps = _Steps(*(_Step(old, new) for _ in range(3))) if staged else _Steps(*[whole] * 3)
    _sort_chains(old, new, steps)
    _sort_lookups(old, new, steps)
    for name, before, after in differences(old.counters, new.counters):
        steps.build.born_counters.extend([name] if before is None else ())
        steps.clear.dead_counters.extend([name] if after is None else ())
    for step in steps.merged() if staged else (whole,):
        lines = list(step.lines())
        if lines:
            yield "\n".join(lines) + "\n"


@dataclass(slots=True)
class _Step:
    """One transaction: names of chains and lookups, and keys of lookups, by what is done to them.

    Of ``shrunk`` None stands for all keys.
    """

    old: Ruleset
    new: Ruleset
    born_chains: list[str] = field(default_factory=list)
    born_lookups: list[str] = field(default_factory=list)
    born_counters: list[str] = field(default_factory=list)
    changed_chains: list[str] = field(default_factory=list)
    shrunk: dict[str, list[Key] | None] = field(default_factory=dict)
    grown: dict[str, list[Key]] = field(default_factory=dict)
    dead_chains: list[str] = field(default_factory=list)
    dead_lookups: list[str] = field(default_factory=list)
    dead_counters: list[str] = field(default_factory=list)

    def joined(self, later: "_Step") -> "_Step":
        """Both steps as one; the earlier one only adds."""
        return replace(
            later,
            born_chains=[*self.born_chains, *later.born_chains],
            born_lookups=[*self.born_lookups, *later.born_lookups],
            born_counters=[*self.born_counters, *later.born_counters],
            grown={
                name: [*self.grown.get(name, ()), *later.grown.get(name, ())]
                for name in self.grown.keys() | later.grown.keys()
            },
        )

    def lines(self) -> Iterator[str]:
        """The commands in order."""
        old, new = self.old, self.new
        born, dead = sorted(self.born_chains), sorted(self.dead_chains)
        changed = sorted(self.changed_chains)
        yield from (declare_counter(n, new.counters[n]) for n in sorted(self.born_counters))
        yield from (declare_chain(name, new.chains[name]) for name in born)
        yield from (declare_lookup(n, new.lookups[n]) for n in sorted(self.born_lookups))
        yield from (f"flush chain {TABLE} {name}" for name in (*changed, *dead))
        for name, keys in sorted(self.shrunk.items()):
            if keys is None:
                yield f"flush {_noun(old.lookups[name])} {TABLE} {name}"
            else:
                yield from delete_elements(name, old.lookups[name], keys)
        for name, added in sorted(self.grown.items()):
            yield from add_elements(name, new.lookups[name], added)
        for name in sorted((*changed, *born)):
            yield from add_rules(name, new.chains[name])
        for name in sorted(self.dead_lookups):
            yield f"delete {_noun(old.lookups[name])} {TABLE} {name}"
        yield from (f"delete chain {TABLE} {name}" for name in dead)
        yield from (f"delete counter {TABLE} {name}" for name in sorted(self.dead_counters))


class _Steps(NamedTuple):
    """What builds, what switches, what clears away; maybe all one step."""

    build: _Step
    switch: _Step
    clear: _Step

    def merged(self) -> list[_Step]:
        """As few steps as may be.

        A packet under way could meet what is made in the same transaction and is still empty; but
        elements of one transaction appear at once, so that where only elements change switching
        needs no step before it.
        """
        build, switch, clear = self
        if build.born_chains or build.born_lookups or switch.changed_chains:
            return [build, switch, clear]
        return [build.joined(switch), clear]


def _sort_chains(old: Ruleset, new: Ruleset, steps: _Steps) -> None:
    for name, before, after in differences(old.chains, new.chains):
        if before is None:
            steps.build.born_chains.append(name)
        elif after is None:
            steps.clear.dead_chains.append(name)
        else:
            steps.switch.changed_chains.append(name)


def _sort_lookups(old: Ruleset, new: Ruleset, steps: _Steps) -> None:
    build, clear = steps.build, steps.clear
    for name in new.lookups.keys() - old.lookups.keys():
        build.born_lookups.append(name)
        build.grown[name] = list(new.lookups[name].elements)
    for name in old.lookups.keys() - new.lookups.keys():
        clear.dead_lookups.append(name)
        if not isinstance(old.lookups[name], NamedSet) and old.lookups[name].elements:
            # So that no element refers to a chain or a counter that goes.
            clear.shrunk[name] = None
    for name in old.lookups.keys() & new.lookups.keys():
        before, after = old.lookups[name], new.lookups[name]
        if before.elements is not after.elements:
            _sort_elements(name, before, after, steps)


def _sort_elements(name: str, before: Lookup, after: Lookup, steps: _Steps) -> None:
    changes = list(_changes(before, after))
    gone = [change.key for change in changes if change.before is not None]
    come = [change.key for change in changes if change.after is not None]
    if is_interval(before) and len(gone) > 1:
        # libnftables 1.0.6 looks through the whole lookup for every interval that is deleted: 1,000
        # out of 5,000 take it 39 s, and filling all 5,000 anew 0.1 s.
        steps.switch.shrunk[name], steps.switch.grown[name] = None, list(after.elements)
        return
    other = {change.key for change in changes if None not in (change.before, change.after)}
    for key in come:
        step = steps.build if key not in other and _unreached(key, before) else steps.switch
        step.grown.setdefault(name, []).append(key)
    for key in gone:
        step = steps.clear if key not in other and _unreached(key, after) else steps.switch
        keys = step.shrunk.setdefault(name, [])
        if keys is not None:
            keys.append(key)


def _pace(lookup: Lookup) -> Pace:
    match lookup:
        case NamedSet():
            return Pace.SWITCH
        case CounterMap():
            return Pace.CONTENT
        case VerdictMap() | NumberMap():
            return lookup.pace


def _unreached(key: Key, lookup: Lookup) -> bool:
    """Whether no packet can carry the number that the key begins with."""
    if _pace(lookup) is Pace.CONTENT:
        return True
    carried = lookup.carried if isinstance(lookup, NumberMap) else None
    return carried is not None and key[0] not in carried


def _changes(before: Lookup, after: Lookup) -> Iterable[Difference[Key, object]]:
    """The keys that come, go, or get another value."""
    if isinstance(before, NamedSet) and isinstance(after, NamedSet):
        changed = set_differences(before.elements, after.elements)
        return (Difference[Key, object](*each) for each in changed)
    if isinstance(before, NamedSet) or isinstance(after, NamedSet):
        raise TypeError("a set and a map are not compared")
    elements: Mapping[Key, object] = before.elements
    return differences(elements, after.elements)


def _noun(lookup: Lookup) -> str:
    return "set" if isinstance(lookup, NamedSet) else "map"


def _changes_nature(old: Ruleset, new: Ruleset) -> bool:
    """Whether a name stands for another kind of thing on the other side."""
    return any(
        _nature(old.lookups[name]) != _nature(new.lookups[name])
        for name in old.lookups.keys() & new.lookups.keys()
    ) or any(
        before.base != after.base
        for _, before, after in differences(old.chains, new.chains)
        if before is not None and after is not None
    )


def _nature(lookup: Lookup) -> tuple[object, ...]:
    time = (lookup.timeout_s, lookup.size) if isinstance(lookup, NamedSet) else ()
    return type(lookup), lookup.types, is_interval(lookup), time

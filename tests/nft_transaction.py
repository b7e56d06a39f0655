"""What a transaction does to a table: a plain model of the kernel's side, strict about order.

It knows commands as texts only and shares nothing with what renders them. Like the kernel it
refuses to name what is not there, to make what is there, and to delete what is referred to.
"""

import re
from dataclasses import dataclass, field

#: A counter as a rule names it, or an element; a rule may also look it up.
_COUNTER = r'(?:counter name |: ")(count-\w+)'


class Refused(Exception):
    """The kernel would refuse this command."""


@dataclass
class Table:
    """Chains with their rules, sets and maps with their elements."""

    chains: dict[str, tuple[str, list[str]]] = field(default_factory=dict)
    lookups: dict[str, tuple[str, dict[str, str]]] = field(default_factory=dict)
    counters: dict[str, str] = field(default_factory=dict)

    def references(self):
        """Every name that a rule or element refers to; sets with an ``@``, counters say so."""
        texts = [rule for _, rules in self.chains.values() for rule in rules]
        texts += [text for _, elements in self.lookups.values() for text in elements.values()]
        return _named(texts)

    def names(self):
        """Every name that is there, as ``references`` writes them."""
        sets = (f"@{name}" for name in self.lookups)
        return {*self.chains, *sets, *(f"counter {name}" for name in self.counters)}

    def reached(self, bases):
        """Every name that a packet can come to from these chains."""
        found, fresh = set(), set(bases)
        while fresh:
            found |= fresh
            texts = [rule for name in fresh & self.chains.keys() for rule in self.chains[name][1]]
            for name in (each[1:] for each in fresh if each.startswith("@")):
                texts += self.lookups[name][1].values()
            fresh = _named(texts) - found
        return found

    def need(self, text):
        """Refuse text that refers to what is not there."""
        for name in re.findall(r"(?:goto|jump) (\S+?)(?=[\s,}]|$)", text):
            if name not in self.chains or self.chains[name][0]:
                raise Refused(f"no chain to go to: {text}")
        for name in re.findall(r"@([\w-]+)", text):
            if name not in self.lookups:
                raise Refused(f"no set: {text}")
        for name in re.findall(_COUNTER, text):
            if name not in self.counters:
                raise Refused(f"no counter: {text}")

    def apply(self, transaction):
        """Run the commands in order."""
        for line in transaction.splitlines():
            verb, noun, rest = line.split(" ", 2)
            name, _, inside = rest.removeprefix("inet korat").strip().partition(" ")
            getattr(self, f"{verb}_{noun}")(name, inside)

    def add_table(self, *_):
        pass

    def delete_table(self, *_):
        self.chains.clear()
        self.lookups.clear()
        self.counters.clear()

    def add_counter(self, name, text):
        _expect(name not in self.counters, name)
        self.counters[name] = text

    def delete_counter(self, name, _):
        _expect(name in self.counters, name)
        _expect(f"counter {name}" not in self.references(), f"{name} is referred to")
        del self.counters[name]

    def add_chain(self, name, base):
        _expect(name not in self.chains, name)
        self.chains[name] = (base, [])

    def flush_chain(self, name, _):
        _expect(name in self.chains, name)
        self.chains[name][1].clear()

    def delete_chain(self, name, _):
        _expect(name in self.chains and not self.chains[name][1], name)
        _expect(name not in self.references(), f"{name} is referred to")
        del self.chains[name]

    def add_rule(self, name, text):
        _expect(name in self.chains, name)
        self.need(text)
        self.chains[name][1].append(text)

    def add_map(self, name, text):
        _expect(name not in self.lookups, name)
        self.lookups[name] = (text, {})

    add_set = add_map

    def flush_map(self, name, _):
        _expect(name in self.lookups, name)
        self.lookups[name][1].clear()

    flush_set = flush_map

    def delete_map(self, name, _):
        _expect(name in self.lookups, name)
        _expect(f"@{name}" not in self.references(), f"{name} is referred to")
        del self.lookups[name]

    delete_set = delete_map

    def add_element(self, name, text):
        _expect(name in self.lookups, name)
        for key, element in _elements(text):
            self.need(element)
            _expect(key not in self.lookups[name][1], f"{key} is in {name}")
            self.lookups[name][1][key] = element

    def delete_element(self, name, text):
        _expect(name in self.lookups, name)
        for key, _ in _elements(text):
            _expect(key in self.lookups[name][1], f"{key} is not in {name}")
            del self.lookups[name][1][key]


def _named(texts):
    text = "\n".join(texts)
    counters = {f"counter {name}" for name in re.findall(_COUNTER, text)}
    chains = set(re.findall(r"(?:goto|jump) (\S+?)(?=[\s,}]|$)", text))
    return chains | counters | set(re.findall(r"@[\w-]+", text))


def _elements(text):
    for element in text.removeprefix("{ ").removesuffix(" }").split(", "):
        yield element.split(" : ")[0], element


def _expect(condition, what):
    if not condition:
        raise Refused(what)

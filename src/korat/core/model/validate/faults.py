"""Collects what is wrong with one object, and the checks that many fields share."""

import re
from collections.abc import Collection, Iterable, Sequence

from korat.core.errors import Problem
from korat.core.net.address import Addr, Family, Prefix
from korat.core.selector import Selector, SelectorError, parse

#: Calico's limit of a selector's text in a rule.
SELECTOR_CHARS = 1024

_MAC = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")


class Faults:
    """The faults of one object; ``field`` is always a JSON path from its root."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.found: list[Problem] = []

    def add(self, field: str, value: object, rule: str) -> None:
        """Note one fault."""
        self.found.append(Problem(self.where, field, value, rule))

    def choice(self, field: str, value: object, allowed: Collection[object]) -> None:
        """``value`` must be one of a closed set."""
        if value not in allowed:
            self.add(field, value, f"must be one of {', '.join(str(each) for each in allowed)}")

    def matches(self, field: str, value: str, pattern: re.Pattern[str], rule: str) -> bool:
        """``value`` must match the whole pattern; says whether it does."""
        if pattern.fullmatch(value):
            return True
        self.add(field, value, rule)
        return False

    def at_most(self, field: str, items: Sequence[object], limit: int) -> None:
        """A list may not be longer than ``limit``."""
        if len(items) > limit:
            self.add(field, None, f"has {len(items)} entries, at most {limit} are allowed")

    def unique(self, field: str, items: Sequence[object]) -> None:
        """No entry may stand twice in a list."""
        twice = sorted({str(each) for each in items if items.count(each) > 1})
        if twice:
            self.add(field, None, f"holds {', '.join(twice)} more than once")

    def selector(self, field: str, text: str) -> Selector | None:
        """``text`` must be a selector that does not speak of ``global()``."""
        parsed = self.any_selector(field, text)
        if parsed and parsed.mentions_global:
            self.add(field, text, "global() may only stand in a rule's namespaceSelector")
        return parsed

    def any_selector(self, field: str, text: str) -> Selector | None:
        """``text`` must be a selector."""
        if len(text) > SELECTOR_CHARS:
            self.add(field, None, f"is longer than {SELECTOR_CHARS} characters")
            return None
        try:
            return parse(text)
        except SelectorError as error:
            self.add(field, text, f"is not a selector: {error}")
            return None

    def cidr(self, field: str, text: str) -> Prefix | None:
        """``text`` must be a CIDR whose host bits are zero."""
        try:
            prefix = Prefix.parse(text)
        except ValueError:
            self.add(field, text, "is not a CIDR")
            return None
        if "/" not in text:
            self.add(field, text, f"is not a CIDR, write {prefix}")
        elif not _is_masked(text):
            self.add(field, text, f"has host bits set, write {prefix}")
        return prefix

    def net(self, field: str, text: str, family: Family | None = None) -> Prefix | None:
        """``text`` must be an address or a CIDR; host bits are allowed."""
        try:
            prefix = Prefix.parse(text)
        except ValueError:
            self.add(field, text, "is neither an IP address nor a CIDR")
            return None
        if family is not None and prefix.family is not family:
            self.add(field, text, f"must be IPv{family.value}")
        return prefix

    def address(self, field: str, text: str, family: Family | None = None) -> Addr | None:
        """``text`` must be one IP address."""
        try:
            addr = Addr.parse(text)
        except ValueError:
            self.add(field, text, "is not an IP address")
            return None
        if family is not None and addr.family is not family:
            self.add(field, text, f"must be an IPv{family.value} address")
        return addr

    def mac(self, field: str, text: str) -> None:
        """``text`` must be a MAC address."""
        self.matches(field, text, _MAC, "is not a MAC address like ee:ee:ee:ee:ee:ee")


def each(field: str, items: Iterable[str]) -> Iterable[tuple[str, str]]:
    """The entries of a list with the path of each."""
    return ((f"{field}[{i}]", item) for i, item in enumerate(items))


def _is_masked(text: str) -> bool:
    try:
        Prefix.parse(text, strict=True)
    except ValueError:
        return False
    return True

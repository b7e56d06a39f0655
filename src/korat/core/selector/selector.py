"""A parsed selector: what the rest of korat holds and asks.

Two selectors are equal when their canonical texts are. ``uid`` is Calico's id of that text.

Source: libcalico-go/lib/selector, libcalico-go/lib/hash.
"""

import base64
import hashlib
from dataclasses import dataclass
from functools import cached_property, lru_cache

from typing_extensions import override

from korat.core.selector import ast
from korat.core.selector.parser import tree

#: How many texts ``parse`` remembers; the policies of a large cluster use a few thousand.
PARSE_CACHE_MAX = 16384


# Not slotted: the cached properties live in the instance's dictionary, where reading ``matches``
# costs no more than reading an attribute.
@dataclass(frozen=True, eq=False)
class Selector:
    """A test of label maps; hashable, immutable."""

    root: ast.Node

    @cached_property
    def canonical(self) -> str:
        """The one text that all spellings of this selector share."""
        return str(self.root)

    @cached_property
    def uid(self) -> str:
        """Calico's unique id of the canonical text, the name of its address set."""
        digest = hashlib.sha224(b"s:" + self.canonical.encode()).digest()
        return "s:" + base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    @cached_property
    def matches(self) -> ast.Test:
        """``matches(labels)``: whether a label map satisfies the selector."""
        return self.root.test()

    @property
    def is_all(self) -> bool:
        """Whether this is ``all()``, as written or as blank text."""
        return isinstance(self.root, ast.All)

    @property
    def is_global(self) -> bool:
        """Whether this is ``global()`` and nothing else."""
        return isinstance(self.root, ast.Global)

    @property
    def mentions_global(self) -> bool:
        """Whether ``global()`` stands anywhere in it; it is legal only alone."""
        return _mentions_global(self.root)

    def prefixed(self, prefix: str) -> "Selector":
        """This selector over labels whose keys have ``prefix``: ``pcns.``, ``pcsa.``."""
        return Selector(self.root.prefixed(prefix))

    def with_all(self, instead: "Selector") -> "Selector":
        """This selector with another one in the place of every ``all()``."""
        return Selector(ast.with_all(self.root, instead.root))

    @property
    def negated(self) -> "Selector":
        """What matches where this does not."""
        return Selector(ast.negation(self.root))

    @override
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Selector) and self.canonical == other.canonical

    @override
    def __hash__(self) -> int:
        return hash(self.canonical)

    @override
    def __str__(self) -> str:
        return self.canonical


def _mentions_global(node: ast.Node) -> bool:
    match node:
        case ast.Global():
            return True
        case ast.Not(operand):
            return _mentions_global(operand)
        case ast.And(operands) | ast.Or(operands):
            return any(map(_mentions_global, operands))
        case _:
            return False


@lru_cache(maxsize=PARSE_CACHE_MAX)
def parse(text: str) -> Selector:
    """Read a selector; blank text is ``all()``.

    Raises:
        SelectorError: the text is no selector.
    """
    return Selector(tree(text))


def conjunction(*selectors: Selector) -> Selector:
    """What all of these match; ``all()`` adds nothing and is left out."""
    parts = tuple(selector.root for selector in selectors if not selector.is_all)
    match parts:
        case ():
            return Selector(ast.All())
        case (part,):
            return Selector(part)
        case _:
            return Selector(ast.And(parts))

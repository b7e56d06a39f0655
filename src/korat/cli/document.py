"""Text to documents: YAML or JSON as people write it, safe, with the line of every field.

Stricter than YAML where YAML hurts: a key may stand once, anchors may not explode, and a label
whose plain text YAML takes for a boolean or a number is refused with the cure. Not for what the
documents mean: that is ``korat.cli.manifest``.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import yaml

from korat.cli.dialect import Loader
from korat.core.errors import Invalid, Problem

#: A document's values once its aliases are written out; a bomb has billions.
MAX_VALUES = 500_000
#: Deeper nesting than any object has.
MAX_DEPTH = 64

#: Maps whose values are text by definition, where YAML's own reading of a word is a trap.
_TEXT_MAPS = frozenset({"labels", "annotations", "matchLabels", "labelsToApply", "nodeSelector"})
_TEXT_FIELDS = frozenset({"name", "namespace", "serviceAccountName", "nodeName"})
_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]|\[\"([^\"]*)\"\]")
_STR = "tag:yaml.org,2002:str"
_KINDS_OF_VALUE = {
    "tag:yaml.org,2002:bool": "a boolean",
    "tag:yaml.org,2002:int": "a number",
    "tag:yaml.org,2002:float": "a number",
}


@dataclass(frozen=True, slots=True)
class Document:
    """One document: its value, where it stands, and its YAML nodes for the lines of its fields.

    JSON has no nodes; ``json`` is its text then, of which nodes are made when somebody asks.
    """

    file: str
    number: int
    line: int
    value: object
    node: yaml.Node | None = field(default=None, compare=False, repr=False)
    json: str = field(default="", compare=False, repr=False)

    def place(self, path: str = "") -> str:
        """``shop.yaml:12`` for the field at this path, or for the nearest one above it."""
        return f"{self.file}:{self.line_at(path)}"

    def line_at(self, path: str) -> int:
        """The line of the field at this path, or of the nearest one above it."""
        if self.node is None and path and self.json:
            node = _nodes_of_json(self.json)
            return self.line - 1 + _line_of(node, path) if node else self.line
        return _line_of(self.node, path) if self.node else self.line


@lru_cache(maxsize=8)
def _nodes_of_json(text: str) -> yaml.Node | None:
    """The nodes of a JSON text, which is YAML but for a few escapes; none where it is not."""
    try:
        node: yaml.Node | None = yaml.compose(text, Loader)
    except (yaml.YAMLError, ValueError, RecursionError):
        return None
    return node


def documents(text: str, file: str) -> list[Document]:
    """Read all documents of one file; empty documents are left out.

    Raises:
        Invalid: the text is not YAML or JSON, or falls into one of YAML's traps; all problems.
    """
    if text.lstrip("\ufeff \t\r\n")[:1] in ("{", "["):
        found = _from_json(text.lstrip("\ufeff"), file)
        if found is not None:
            return found
    return _from_yaml(text, file)


def _from_json(text: str, file: str) -> list[Document] | None:
    """Read JSON documents; None when this is YAML's flow style and no JSON."""
    decoder = json.JSONDecoder(object_pairs_hook=_unique_pairs)
    found: list[Document] = []
    at = 0
    while (at := _skip_space(text, at)) < len(text):
        line = text.count("\n", 0, at) + 1
        try:
            value, end = decoder.raw_decode(text, at)
        except _DuplicateKeyError as error:
            problem = Problem(f"{file}:{line}", error.key, None, "stands twice in one object")
            raise Invalid([problem]) from error
        except RecursionError as error:
            raise Invalid([_too_deep(f"{file}:{line}")]) from error
        except json.JSONDecodeError:
            return None
        found.append(Document(file, len(found) + 1, line, value, json=text[at:end]))
        at = end
    return found


def _skip_space(text: str, at: int) -> int:
    """The index of the next character that is no white space."""
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


class _DuplicateKeyError(ValueError):
    """A key stood twice in one JSON object."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


def _unique_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose keys all differ."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _DuplicateKeyError(next(key for key in keys if keys.count(key) > 1))
    return found


def _from_yaml(text: str, file: str) -> list[Document]:
    """Read YAML documents and look each node over before any value is built."""
    found: list[Document] = []
    problems: list[Problem] = []
    loader = None
    try:
        _refuse_depth(text, file)
        loader = Loader(text)
        while loader.check_node():
            node = loader.get_node()
            faults = list(_faults(node, file))
            problems += faults
            if not faults and node.tag != "tag:yaml.org,2002:null":
                value = loader.construct_document(node)
                line = node.start_mark.line + 1
                found.append(Document(file, len(found) + 1, line, value, node))
    except yaml.MarkedYAMLError as error:
        problems.append(_syntax(error, file, text))
    except yaml.YAMLError as error:
        problems.append(Problem(file, "", None, f"is not YAML: {error}".replace("\n", " ")))
    except ValueError as error:
        problems.append(Problem(file, "", None, f"holds a value that cannot be read: {error}"))
    finally:
        if loader is not None:
            loader.dispose()
    if problems:
        raise Invalid(problems)
    return found


def _refuse_depth(text: str, file: str) -> None:
    """Count nesting by events, which need no stack, before nodes are built, which do."""
    depth = 0
    for event in yaml.parse(text, Loader=Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                mark: Any = event.start_mark
                raise Invalid([_too_deep(f"{file}:{mark.line + 1}")])
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _too_deep(where: str) -> Problem:
    """The problem of a file that nests without end."""
    return Problem(where, "", None, f"is nested more than {MAX_DEPTH} levels deep")


def _syntax(error: yaml.MarkedYAMLError, file: str, text: str) -> Problem:
    """One sentence from PyYAML's several lines."""
    mark = error.problem_mark or error.context_mark
    where = f"{file}:{mark.line + 1}" if mark else file
    what = (error.problem or error.context or "cannot be read").strip()
    line = text.splitlines()[mark.line : mark.line + 1] if mark else []
    hint = "; indent with spaces, not tabs" if line and line[0].lstrip(" ")[:1] == "\t" else ""
    return Problem(where, "", None, f"is not YAML: {what}{hint}")


def _faults(root: yaml.Node, file: str) -> Iterator[Problem]:
    """What YAML allows and korat does not: twice the same key, bombs, words that are no text."""
    seen: set[int] = set()
    if _size(root, {}) > MAX_VALUES:
        rule = f"grows to more than {MAX_VALUES} values when its aliases are written out"
        yield Problem(f"{file}:{root.start_mark.line + 1}", "", None, rule)
        return
    stack = [root]
    while stack:
        node = stack.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            yield from _mapping_faults(node, file)
            stack += [value for _, value in reversed(node.value)]
        elif isinstance(node, yaml.SequenceNode):
            stack += reversed(node.value)


def _size(node: yaml.Node, known: dict[int, int]) -> int:
    """Values under a node with aliases written out; a node inside itself counts as endless."""
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) not in known:
        known[id(node)] = MAX_VALUES + 1
        pairs = isinstance(node, yaml.MappingNode)
        inner = [value for _, value in node.value] if pairs else node.value
        known[id(node)] = 1 + sum(_size(value, known) for value in inner)
    return known[id(node)]


def _mapping_faults(node: yaml.MappingNode, file: str) -> Iterator[Problem]:
    """Keys that stand twice or are no text, and text fields that YAML reads as something else."""
    seen: dict[str, int] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            yield Problem(f"{file}:{line}", "", None, "a key must be a plain word")
            continue
        if key.tag in _KINDS_OF_VALUE:
            yield _trap(key, f"{file}:{line}", "a key")
        if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
            rule = f"stands twice in one mapping, first in line {seen[key.value]}"
            yield Problem(f"{file}:{line}", key.value, None, rule)
        seen.setdefault(key.value, line)
        yield from _text_faults(key.value, value, file)


def _text_faults(key: str, value: yaml.Node, file: str) -> Iterator[Problem]:
    """Unquoted ``no``, ``on`` or ``1.10`` where text is due."""
    due: list[tuple[str, yaml.Node]] = []
    if key in _TEXT_FIELDS:
        due = [(key, value)]
    elif key in _TEXT_MAPS and isinstance(value, yaml.MappingNode):
        due = [(f"{key}.{inner.value}", each) for inner, each in value.value]
    for name, node in due:
        if node.tag in _KINDS_OF_VALUE:
            yield _trap(node, f"{file}:{node.start_mark.line + 1}", name)


def _trap(node: yaml.Node, where: str, name: str) -> Problem:
    """The problem of a plain word that YAML takes for something else."""
    word = node.value
    rule = f'is {_KINDS_OF_VALUE[node.tag]} to YAML, but text is due; write it in quotes: "{word}"'
    return Problem(where, f"{name}: {word}", None, rule)


def _line_of(root: yaml.Node, path: str) -> int:
    """The line of the field at a JSON path, or of its nearest ancestor that is written down."""
    node, line = root, root.start_mark.line
    for name, index, quoted in _STEP.findall(path):
        step = _child(node, name or quoted, index)
        if step is None:
            break
        node, line = step
    return line + 1


def _child(node: yaml.Node, name: str, index: str) -> tuple[yaml.Node, int] | None:
    """The node one step down and the line of its key."""
    if isinstance(node, yaml.MappingNode):
        return next(
            ((value, key.start_mark.line) for key, value in node.value if key.value == name), None
        )
    if isinstance(node, yaml.SequenceNode) and index and int(index) < len(node.value):
        child = node.value[int(index)]
        return child, child.start_mark.line
    return None

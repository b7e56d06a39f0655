"""Files to resources: everything that ``-f`` names is read and checked before anything is done.

All faults of all files come out together, each with its file, line and document. Not for rules
that need the store (does the tier exist?): those are ``korat.drivers.store.batch``'s.
"""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from korat.cli.document import Document, documents
from korat.core.errors import Invalid, KoratError, Problem
from korat.core.model.codec import dump
from korat.core.model.default import apply as fill
from korat.core.model.key import Key
from korat.core.model.kubernetes.manifest import decode_any
from korat.core.model.resource import Resource
from korat.core.model.validate import on_azure, validate

MAX_BYTES = 32 * 1024 * 1024
SUFFIXES = (".yaml", ".yml", ".json")


@dataclass(frozen=True, slots=True)
class Source:
    """One object's raw value and the document it stood in."""

    document: Document
    path: str
    raw: object

    def located(self, found: Iterable[Problem]) -> list[Problem]:
        """The problems with file, line and, where there are several, the document's number."""
        placed = [(self._path(problem.field), problem) for problem in found]
        placed.sort(key=lambda each: self.document.line_at(each[0]))
        return [
            Problem(
                ": ".join(part for part in (self.place(path), problem.where) if part),
                path if problem.field else "",
                problem.value,
                problem.rule,
            )
            for path, problem in placed
        ]

    def _path(self, field: str) -> str:
        """A field's path from the top of the document."""
        return ".".join(part for part in (self.path, field) if part)

    def place(self, field: str = "") -> str:
        """``shop.yaml:12`` or ``shop.yaml:12 (document 3)``."""
        number = self.document.number
        return self.document.place(field) + (f" (document {number})" if number > 1 else "")

    def line(self, field: str) -> str:
        """``shop.yaml:12`` for one of the object's own fields."""
        return self.document.place(self._path(field))


@dataclass(frozen=True, slots=True)
class Item:
    """One object as its author wrote it, the resources that it becomes, and where it stood."""

    kind: str
    place: str
    resources: tuple[Resource, ...]
    source: Source | None = field(default=None, compare=False, repr=False)


def read(sources: Sequence[str], namespace: str = "", *, recursive: bool = False) -> list[Item]:
    """The objects of all files; ``namespace`` is for those that name none.

    An object that stands twice with the same content counts once.

    Raises:
        Invalid: anything is wrong anywhere; holds every problem of every file.
    """
    problems: list[Problem] = []
    items: list[Item] = []
    for name in sources:
        for file in files_of(name, problems, recursive=recursive):
            items += _items(file, namespace, problems)
    if problems:
        raise Invalid(problems)
    return _distinct(items)


def read_items(
    files: Sequence[str], namespace: str, *, recursive: bool, skip_empty: bool
) -> list[Item]:
    """The objects of files for a verb, or calicoctl's words for what is wrong with them.

    Raises:
        KoratError: anything is wrong anywhere, or there is no object at all.
    """
    try:
        items = read(files, namespace, recursive=recursive)
    except Invalid as error:
        raise _failed("failed to execute command", error.problems) from error
    if not items and not skip_empty:
        raise KoratError("failed to execute command: No resources specified")
    return items


def _failed(headline: str, faults: Iterable[object]) -> KoratError:
    """One error of one fault on one line, of several on a line each."""
    lines = [str(fault) for fault in faults]
    if len(lines) == 1:
        return KoratError(f"{headline}: {lines[0]}")
    return KoratError("\n  ".join([f"{headline}: {len(lines)} problems, nothing was done", *lines]))


def files_of(name: str, problems: list[Problem], *, recursive: bool) -> Iterator[str]:
    """The files that one ``-f`` stands for, in the order of their names."""
    path = Path(name)
    if name == "-" or not path.is_dir():
        yield name
        return
    found = path.rglob("*") if recursive else path.iterdir()
    files = sorted(str(each) for each in found if each.suffix in SUFFIXES and each.is_file())
    if not files:
        hint = "" if recursive else " (-R looks into its folders too)"
        rule = f"holds no {', '.join(SUFFIXES)} file{hint}"
        problems.append(Problem(name, "", None, rule))
    yield from files


def _items(file: str, namespace: str, problems: list[Problem]) -> list[Item]:
    """The objects of one file; what is wrong goes to ``problems``."""
    label = "standard input" if file == "-" else file
    items = []
    try:
        for source in _sources(documents(text_of(file), label)):
            try:
                items.append(_item(source, namespace))
            except Invalid as error:
                problems += source.located(error.problems)
    except Invalid as error:
        problems += error.problems
    return items


def text_of(file: str) -> str:
    """The text of a file, or of standard input for ``-``.

    Raises:
        Invalid: it cannot be read, is no text, or is larger than any manifest.
    """
    label = "standard input" if file == "-" else file
    try:
        if file == "-":
            content = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with Path(file).open("rb") as stream:
                content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        why = os.strerror(error.errno or 0).lower()
        raise Invalid([Problem(label, "", None, f"cannot be read: {why}")]) from error
    if len(content) > MAX_BYTES:
        rule = f"is larger than {MAX_BYTES // 1024 // 1024} MiB; split it"
        raise Invalid([Problem(label, "", None, rule)])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise Invalid([Problem(f"{label}:{line}", "", None, "is not UTF-8 text")]) from error


def _sources(found: Iterable[Document]) -> Iterator[Source]:
    """The objects of documents: lists, and objects of a ``...List`` kind, hold several."""
    for document in found:
        yield from _unpacked(Source(document, "", document.value))


def _unpacked(source: Source) -> Iterator[Source]:
    raw: Any = source.raw
    prefix = source.path
    if isinstance(raw, Mapping) and _is_list(raw):
        kind, version = str(raw["kind"]).removesuffix("List"), raw.get("apiVersion")
        said = {"kind": kind, "apiVersion": version} if kind else {}
        raw = [{**said, **each} if _untyped(each) else each for each in raw["items"] or []]
        prefix = f"{prefix}.items" if prefix else "items"
    if not isinstance(raw, list):
        yield source
        return
    for i, each in enumerate(raw):
        yield from _unpacked(Source(source.document, f"{prefix}[{i}]", each))


def _is_list(raw: Mapping[str, object]) -> bool:
    """Whether this is a list object: ``List``, ``NetworkPolicyList`` with its items."""
    kind, items = raw.get("kind"), raw.get("items", 0)
    listed = items is None or isinstance(items, list)
    return isinstance(kind, str) and kind.endswith("List") and listed


def _untyped(item: object) -> bool:
    """Whether an item leaves its kind to its list, as Kubernetes' own lists do."""
    return isinstance(item, Mapping) and not item.get("kind")


def _item(source: Source, namespace: str) -> Item:
    """One object decoded and validated.

    Raises:
        Invalid: it is not an object of a known kind or breaks a rule.
    """
    raw = source.raw
    if not isinstance(raw, Mapping):
        rule = "an object must be a mapping with apiVersion, kind and metadata"
        raise Invalid([Problem("", "", raw, rule)])
    resources = tuple(fill(resource) for resource in decode_any(_placed(dict(raw), namespace)))
    problems = [
        problem for resource in resources for problem in (*validate(resource), *on_azure(resource))
    ]
    if problems:
        raise Invalid(problems)
    kind = str(raw.get("kind"))
    return Item(kind, source.place(), resources, source)


def _placed(raw: dict[str, Any], namespace: str) -> dict[str, Any]:
    """The object in the namespace that ``-n`` gives to those that name none themselves."""
    metadata = raw.get("metadata")
    if not namespace or not isinstance(metadata, dict) or metadata.get("namespace"):
        return raw
    return {**raw, "metadata": {**metadata, "namespace": namespace}}


def _distinct(items: Iterable[Item]) -> list[Item]:
    """The items without repetitions.

    Raises:
        Invalid: one object stands twice with different content.
    """
    seen: dict[Key, tuple[bytes, str]] = {}
    problems: list[Problem] = []
    kept = []
    for item in items:
        fresh = []
        for resource in item.resources:
            value = dump(resource)
            before, place = seen.setdefault(resource.key, (value, item.place))
            if place == item.place and resource not in fresh:
                fresh.append(resource)
            elif before != value:
                rule = f"stands twice with different content, first at {place}"
                problems.append(Problem(f"{item.place}: {resource.title}", "", None, rule))
        if fresh:
            kept.append(replace(item, resources=tuple(fresh)))
    if problems:
        raise Invalid(problems)
    return kept

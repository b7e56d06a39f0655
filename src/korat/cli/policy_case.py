"""Tests of policy as files: who should reach whom, written down, and read with every fault.

A file holds a YAML or JSON list, or a mapping with ``tests``::

    - {from: shop/cart, to: shop/db, protocol: TCP, port: postgres, expect: allow}

``name`` may be given, ``protocol`` is TCP unless it is; ``sourcePort``, ``icmpType``, ``icmpCode``
and ``ipVersion`` are what ``policy explain`` has as options. Not for the answers: ``policy_check``.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from korat.cli.document import Document, documents
from korat.cli.manifest import files_of, text_of
from korat.cli.question import Words
from korat.core.errors import Invalid, Problem
from korat.core.model.decode import nearest
from korat.core.policy.outcome import Action

#: The fields of a packet, in the order of ``Words``.
_PACKET = ("from", "to", "protocol", "port", "sourcePort", "icmpType", "icmpCode", "ipVersion")
_FIELDS = ("name", *_PACKET, "expect")
_NEEDED = ("from", "to", "expect")
_TEXT = ("name", "from", "to")
_EXPECTED = {"allow": Action.ALLOW, "deny": Action.DENY}
_LISTED = ", ".join(_FIELDS)


@dataclass(frozen=True, slots=True)
class Case:
    """One test as it is written, and where."""

    document: Document
    path: str
    name: str
    words: Words
    expected: Action

    @property
    def file(self) -> str:
        """The file that it is in."""
        return self.document.file

    @property
    def line(self) -> int:
        """The line where it begins."""
        return self.document.line_at(self.path)

    def place(self, field: str = "") -> str:
        """``FILE:LINE`` of one of its fields."""
        return self.document.place(f"{self.path}.{field}" if field else self.path)


def read_cases(files: Sequence[str]) -> list[Case]:
    """The tests of all files, in order.

    Raises:
        Invalid: anything is wrong anywhere; holds every fault of every file.
    """
    problems: list[Problem] = []
    cases: list[Case] = []
    for name in files:
        for file in files_of(name, problems, recursive=False):
            cases += _read(file, problems)
    if problems:
        raise Invalid(problems)
    return cases


def _read(file: str, problems: list[Problem]) -> list[Case]:
    """The tests of one file; what is wrong goes to ``problems``."""
    label = "standard input" if file == "-" else file
    found: list[Case] = []
    faults: list[Problem] = []
    try:
        found = list(_cases(documents(text_of(file), label), faults))
    except Invalid as error:
        faults += error.problems
    if not found and not faults:
        faults.append(Problem(label, "", None, "holds no test"))
    problems += faults
    return found


def _cases(found: Iterable[Document], problems: list[Problem]) -> Iterator[Case]:
    for document in found:
        value, prefix = document.value, ""
        if isinstance(value, Mapping) and set(value) == {"tests"}:
            value, prefix = value["tests"], "tests"
        if not isinstance(value, list):
            rule = "tests are a list of {from, to, port, expect}, or a mapping with tests"
            problems.append(Problem(document.place(), "", None, rule))
            continue
        for i, raw in enumerate(value):
            path = f"{prefix}[{i}]"
            faults = list(_faults(raw, document, path))
            problems += faults
            if not faults:
                yield _case(raw, document, path)


def _faults(raw: object, document: Document, path: str) -> Iterator[Problem]:
    """What is wrong with one test."""
    if not isinstance(raw, Mapping):
        rule = "a test is a mapping with from, to, port and expect"
        yield Problem(document.place(path), "", raw, rule)
        return
    for field, value in raw.items():
        rule = _rule(str(field), value)
        if rule:
            said = value if field in _FIELDS else None
            yield Problem(document.place(f"{path}.{field}"), str(field), said, rule)
    for field in _NEEDED:
        if field not in raw:
            yield Problem(document.place(path), field, None, "is missing")


def _rule(field: str, value: object) -> str:
    """The rule that a field of a test breaks, if any."""
    if field not in _FIELDS:
        near = nearest(field, _FIELDS)
        return f"unknown field, {f'did you mean {near}?' if near else f'there are {_LISTED}'}"
    if field == "expect":
        return "" if str(value).lower() in _EXPECTED else "must be allow or deny"
    if isinstance(value, str):
        return ""
    if field in _TEXT:
        scalar = isinstance(value, bool | int | float)
        return "must be text; write it in quotes" if scalar else "must be text"
    number = isinstance(value, int) and not isinstance(value, bool)
    return "" if number else "must be text or a whole number"


def _case(raw: Mapping[str, object], document: Document, path: str) -> Case:
    packet = [str(raw.get(field, "")) for field in _PACKET]
    packet[2] = packet[2] or "TCP"
    words = Words(*packet)
    expected = _EXPECTED[str(raw["expect"]).lower()]
    return Case(document, path, str(raw.get("name", "")) or _spoken(words), words, expected)


def _spoken(words: Words) -> str:
    """The name of a test that its author gave none."""
    extras = (
        ("from port", words.source_port),
        ("type", words.icmp_type),
        ("code", words.icmp_code),
        ("over IPv", words.ip_version),
    )
    said = [f"{name} {word}".replace("IPv ", "IPv") for name, word in extras if word]
    parts = (words.source, "→", words.destination, words.protocol, words.port, *said)
    return " ".join(filter(None, parts))

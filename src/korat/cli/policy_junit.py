"""JUnit XML, as CI systems read it: a suite per file, a case per test, a failure with its reason.

Source: the schema that Jenkins' xunit plugin publishes; GitLab and Azure Pipelines read the same
attributes.
"""

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

from korat.cli.policy_check import Answer, by_file, complaint, headline, reasons
from korat.cli.policy_source import Snapshot
from korat.core.errors import KoratError

#: What XML 1.0 cannot hold, not even escaped.
_IMPOSSIBLE = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write_junit(path: str, answers: Sequence[Answer], snapshot: Snapshot) -> None:
    """Write the report.

    Raises:
        KoratError: the file cannot be written.
    """
    root = _element("testsuites", name="korat policy test", **_counts(answers))
    for file, group in by_file(answers):
        suite = _element("testsuite", name=file, **_counts(group))
        names = _distinct(answer.case.name for answer in group)
        suite.extend(_case(*each, snapshot) for each in zip(names, group, strict=True))
        root.append(suite)
    ET.indent(root)
    try:
        Path(path).write_bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n")
    except OSError as error:
        why = os.strerror(error.errno or 0).lower()
        raise KoratError(f"cannot write {path}: {why}") from error


def _counts(answers: Sequence[Answer]) -> dict[str, str]:
    return {
        "tests": str(len(answers)),
        "failures": str(sum(not answer.passed for answer in answers)),
        "errors": "0",
        "skipped": "0",
        "time": f"{sum(answer.seconds for answer in answers):.6f}",
    }


def _distinct(names: Iterable[str]) -> Iterator[str]:
    """The names, with a number where one stands again: some readers keep one case of a name."""
    seen: Counter[str] = Counter()
    for name in names:
        seen[name] += 1
        yield f"{name} ({seen[name]})" if seen[name] > 1 else name


def _case(name: str, answer: Answer, snapshot: Snapshot) -> ET.Element:
    case = answer.case
    element = _element(
        "testcase",
        name=name,
        classname=case.file,
        file=case.file,
        line=str(case.line),
        time=f"{answer.seconds:.6f}",
    )
    if not answer.passed:
        why = "\n".join(
            f"{direction}: {rule}{f' ({place})' if place else ''}"
            for direction, rule, place in reasons(answer, snapshot)
        )
        failure = _element("failure", message=complaint(answer), type="policy")
        failure.text = _possible(f"{headline(answer)}: {complaint(answer)}\n{why}\n{case.place()}")
        element.append(failure)
    return element


def _element(tag: str, **attributes: str) -> ET.Element:
    return ET.Element(tag, {name: _possible(value) for name, value in attributes.items()})


def _possible(text: str) -> str:
    """The text with a mark in place of what no XML can say."""
    return _IMPOSSIBLE.sub("\ufffd", text)

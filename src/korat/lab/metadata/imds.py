"""IMDS's rules for one request, without HTTP: what it takes, what it refuses, and in which words.

A leaf is answered as text and needs ``format=text``; everything above is answered as JSON. A
request that came through a proxy is refused, for a pod or a web server that relays requests must
not hand out what is its VM's alone.

Source: Microsoft's "Azure Instance Metadata Service for virtual machines".
"""

from collections.abc import Mapping
from dataclasses import dataclass

from korat.lab.arm.view import MachineView
from korat.lab.metadata.instance import Tree, instance, part

VERSIONS = (
    *("2017-03-01", "2017-04-02", "2017-08-01", "2017-10-01", "2017-12-01", "2018-02-01"),
    *("2018-04-02", "2018-10-01", "2019-02-01", "2019-03-11", "2019-04-30", "2019-06-01"),
    *("2019-06-04", "2019-08-01", "2019-08-15", "2019-11-01", "2020-06-01", "2020-07-15"),
    *("2020-09-01", "2020-10-01", "2020-12-01", "2021-01-01", "2021-02-01", "2021-03-01"),
    *("2021-05-01", "2021-10-01", "2021-11-01", "2021-11-15", "2021-12-13", "2023-07-01"),
    *("2023-11-15", "2025-04-07", "2025-07-24"),
)
_NEWEST = 3
_ROOT = ("metadata", "instance")
_FORMATS = ("json", "text")


@dataclass(frozen=True, slots=True)
class Question:
    """What a VM asked; header names in lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Reply:
    """What it is told: JSON, or a leaf's text; ``headers`` are HTTP's."""

    status: int
    body: Tree
    headers: Mapping[str, str] | None = None


def refusal(question: Question) -> Reply | None:
    """What is wrong with a request whatever it asks for; None when nothing is."""
    if question.method != "GET":
        return Reply(405, _error("Method not allowed"), {"Allow": "GET"})
    if question.headers.get("metadata", "").lower() != "true":
        return Reply(400, _error("Bad request. Required metadata header not specified"))
    if "x-forwarded-for" in question.headers:
        return Reply(400, _error("Bad request. X-Forwarded-For header is not allowed"))
    return None


def throttled() -> Reply:
    """The answer to who asks too often."""
    return Reply(429, _error("Too many requests"), {"Retry-After": "1"})


def reply(question: Question, machine: MachineView) -> Reply:
    """Answer a request that nothing is wrong with, for the VM that sent it."""
    steps = tuple(step for step in question.path.split("/") if step)
    if steps == ("metadata", "versions"):
        return Reply(200, {"apiVersions": list(VERSIONS)})
    if steps[:2] != _ROOT:
        return Reply(404, _error("Not found"))
    version = question.query.get("api-version")
    if version is None:
        return _without_version("api-version was not specified in the request")
    if version not in VERSIONS:
        return _without_version("api-version is invalid")
    return _formatted(part(instance(machine), steps[2:]), question.query.get("format", "json"))


def _formatted(found: Tree | None, form: str) -> Reply:
    if found is None:
        return Reply(404, _error("Not found"))
    if form not in _FORMATS:
        return Reply(400, _error("Bad request. Supported formats are json and text"))
    if isinstance(found, str) and form != "text":
        return Reply(400, _error("Bad request. A single value needs format=text"))
    if not isinstance(found, str) and form != "json":
        return Reply(400, _error("Bad request. More than one value needs format=json"))
    return Reply(200, found)


def _without_version(why: str) -> Reply:
    newest: list[Tree] = list(VERSIONS[: -_NEWEST - 1 : -1])
    more = "For more information refer to aka.ms/azureimds"
    return Reply(400, {**_error(f"Bad request. {why}. {more}"), "newest-versions": newest})


def _error(text: str) -> dict[str, Tree]:
    return {"error": text}

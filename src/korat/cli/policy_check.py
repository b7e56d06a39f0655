"""policy test: the answers to tests of policy, for people, for scripts and for CI systems."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from time import perf_counter
from typing import Any

from korat.cli.explain import NO_WORKLOAD, numbers
from korat.cli.policy_case import Case
from korat.cli.policy_ruling import ruling_words
from korat.cli.policy_source import Snapshot
from korat.cli.question import Question, ask
from korat.cli.surroundings import surroundings
from korat.core.errors import Invalid, KoratError, Problem
from korat.core.policy.evaluate import Judgement, Verdict
from korat.core.policy.outcome import Action

_DONE = {Action.ALLOW: "allowed", Action.DENY: "denied"}
#: The test's field of each option of ``policy explain``, in whose words faults come.
_FIELDS = {
    "--from": "from",
    "--to": "to",
    "--protocol": "protocol",
    "--port": "port",
    "--source-port": "sourcePort",
    "--icmp-type": "icmpType",
    "--icmp-code": "icmpCode",
    "--ip-version": "ipVersion",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What policy says to one test, and how long it took.

    Of two ends that share both IP versions, over ``versions`` many, the test is of both: the
    question is the first one whose verdict is not as expected.
    """

    case: Case
    question: Question
    verdict: Verdict
    seconds: float
    versions: int = 1

    @property
    def passed(self) -> bool:
        """Whether it is as expected."""
        return self.verdict.action is self.case.expected


def check(cases: Iterable[Case], snapshot: Snapshot) -> list[Answer]:
    """Ask every test's question.

    Raises:
        Invalid: questions that cannot be asked, such as of pods that there are not; all of them.
    """
    problems: list[Problem] = []
    answers: list[Answer] = []
    around = surroundings(snapshot.objects, snapshot.cluster)
    for case in cases:
        begun = perf_counter()
        try:
            questions = ask(snapshot.objects, snapshot.cluster, case.words)
        except KoratError as error:
            problems += _located(case, error)
            continue
        judged = [(each, around.between(each.packet)) for each in questions]
        worst = next((p for p in judged if p[1].action is not case.expected), judged[0])
        answers.append(Answer(case, *worst, perf_counter() - begun, len(judged)))
    if problems:
        raise Invalid(problems)
    return answers


def _located(case: Case, error: KoratError) -> Iterator[Problem]:
    """The faults of a question at their lines."""
    if not isinstance(error, Invalid):
        yield Problem(case.place(), "", None, str(error))
        return
    for problem in error.problems:
        field = _FIELDS.get(problem.field, problem.field)
        yield replace(problem, where=case.place(field), field=field)


def headline(answer: Answer) -> str:
    """``shop/web → shop/db TCP 5432``, with names and ports as they were understood."""
    question = answer.question
    names = f"{question.source.name} → {question.destination.name}"
    version = f" over IPv{question.packet.family.value}" if answer.versions > 1 else ""
    return f"{names} {question.packet_words}{version}"


def complaint(answer: Answer) -> str:
    """``expected deny, but it is allowed``."""
    return f"expected {answer.case.expected.value}, but it is {_DONE[answer.verdict.action]}"


def reasons(answer: Answer, snapshot: Snapshot) -> Iterator[tuple[str, str, str]]:
    """Direction, rule and place of the side that denies, or of both where both allow."""
    said = answer.verdict
    for name, judgement in (("egress", said.egress), ("ingress", said.ingress)):
        if judgement is None:
            if said.action is Action.ALLOW:
                yield name, NO_WORKLOAD, ""
        elif judgement.outcome.action is said.action:
            ref = judgement.outcome.ref
            yield name, ruling_words(ref, snapshot), snapshot.places.of(ref)
            if said.action is Action.DENY:
                return


def summary(answers: Sequence[Answer]) -> str:
    """``12 tests: 11 as expected, 1 not``."""
    count, failed = len(answers), sum(not answer.passed for answer in answers)
    tests = "1 test" if count == 1 else f"{count} tests"
    if not failed:
        return f"{tests}: {'as expected' if count == 1 else 'all as expected'}"
    return f"{tests}: {count - failed} as expected, {failed} not"


def outcome(answers: Sequence[Answer], snapshot: Snapshot) -> dict[str, Any]:
    """The whole outcome for scripts."""
    return {
        "tests": len(answers),
        "failures": sum(not answer.passed for answer in answers),
        "results": [_result(answer, snapshot) for answer in answers],
    }


def _result(answer: Answer, snapshot: Snapshot) -> dict[str, Any]:
    return {
        "name": answer.case.name,
        "place": answer.case.place(),
        "from": answer.question.source.name,
        "to": answer.question.destination.name,
        **numbers(answer.question.packet),
        "expect": answer.case.expected.value,
        "verdict": answer.verdict.action.value,
        "passed": answer.passed,
        "egress": _side(answer.verdict.egress, snapshot),
        "ingress": _side(answer.verdict.ingress, snapshot),
    }


def _side(judgement: Judgement | None, snapshot: Snapshot) -> Mapping[str, str | None]:
    if judgement is None:
        return {"action": Action.ALLOW.value, "rule": NO_WORKLOAD, "place": None}
    outcome = judgement.outcome
    place = snapshot.places.of(outcome.ref) or None
    return {"action": outcome.action.value, "rule": outcome.ref.text, "place": place}


def by_file(answers: Iterable[Answer]) -> Iterator[tuple[str, list[Answer]]]:
    """The answers of each file."""
    for file, group in groupby(answers, key=lambda answer: answer.case.file):
        yield file, list(group)

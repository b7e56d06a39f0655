"""policy test for people: each test that is not as expected with the rule that decided."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text
from rich.tree import Tree

from korat.cli.policy_check import Answer, complaint, headline, reasons, summary
from korat.cli.policy_source import Snapshot
from korat.cli.screen import ALLOWED, DENIED, DIM

_PLACE = "cyan"


def drawn(answers: Sequence[Answer], snapshot: Snapshot) -> RenderableType:
    """The failures, then one line that says how many there are."""
    parts: list[RenderableType] = []
    for answer in answers:
        if not answer.passed:
            parts += [_failure(answer, snapshot), Text("")]
    good = all(answer.passed for answer in answers)
    mark, colour = ("✔", ALLOWED) if good else ("✘", DENIED)
    parts.append(Text.assemble((f"{mark} ", f"bold {colour}"), (summary(answers), "bold")))
    return Group(*parts)


def _failure(answer: Answer, snapshot: Snapshot) -> Tree:
    """One test: what was expected, and why it is otherwise."""
    head = Text.assemble(("✘ ", f"bold {DENIED}"), (answer.case.name, "bold"))
    head.append(f"  {answer.case.place()}", _PLACE)
    tree = Tree(head, guide_style=DIM)
    asked = headline(answer)
    shown = "" if asked == answer.case.name else f"{asked}: "
    tree.add(Text(f"{shown}{complaint(answer)}"))
    for direction, rule, place in reasons(answer, snapshot):
        line = Text.assemble((f"{direction}: ", DIM), rule)
        tree.add(line.append(f"  {place}", _PLACE) if place else line)
    return tree

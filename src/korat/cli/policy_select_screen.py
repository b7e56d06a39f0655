"""``policy explain --pod`` and ``--policy`` for people.

Trees for what is asked in order, names in paragraphs for what is many; everything wraps, nothing is
cut, so that it holds on a narrow screen.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text
from rich.tree import Tree

from korat.cli.policy_source import INVENTED
from korat.cli.screen import DIM

_DIRECTIONS = ("ingress", "egress")
_PLACE = "cyan"


def pod_drawn(found: Mapping[str, Any]) -> RenderableType:
    """The policies of a pod in the order in which they are asked."""
    head = Text.assemble((found["pod"], "bold"), (f"  {', '.join(found['addresses'])}", DIM))
    if found["invented"]:
        head.append(f" (made up, of {INVENTED})", DIM)
    if found["node"]:
        head.append(f" on {found['node']}", DIM)
    parts: list[RenderableType] = [head]
    for direction in _DIRECTIONS:
        parts += [Text(""), _asked(direction, found[direction], found["profiles"])]
    return Group(*parts)


def _asked(direction: str, rows: Sequence[Mapping[str, Any]], profiles: Iterable[str]) -> Tree:
    """One direction: tiers with the policies that select the pod, then profiles."""
    count = f"{len(rows)} {'policy' if len(rows) == 1 else 'policies'}"
    tree = Tree(Text.assemble((direction, "bold"), (f"  {count}", DIM)), guide_style=DIM)
    number = 0
    for _, members in groupby(rows, key=lambda row: row["tier"]):
        inside = list(members)
        branch = tree.add(_tier(inside[0], staged=all(row["staged"] for row in inside)))
        for row in inside:
            number += 1
            branch.add(_policy(number, row))
    names = ", ".join(profiles) or "none: what comes here is denied"
    tree.add(Text.assemble(("then the profiles ", DIM), names))
    return tree


def _tier(row: Mapping[str, Any], *, staged: bool) -> Text:
    """A tier and what becomes of the rest; one whose policies are all staged decides nothing."""
    then = "passed on" if staged or row["tierDefaultAction"] != "Deny" else "denied"
    order = "" if row["tierOrder"] is None else f"  order {_number(row['tierOrder'])}"
    line = Text.assemble(("tier ", DIM), row["tier"], (order, DIM))
    return line.append(f"; what it does not decide is {then}", DIM)


def _policy(number: int, row: Mapping[str, Any]) -> Text:
    line = Text.assemble((f"{number}. ", DIM), _name(row))
    if row["staged"]:
        line.append("  staged: counted, not enforced", "yellow")
    order = "" if row["order"] is None else f", order {_number(row['order'])}"
    line.append(f"  {_rules(row['rules'])}{order}", DIM)
    return _placed(line, row)


def policy_drawn(found: Mapping[str, Any]) -> RenderableType:
    """The pods and host endpoints of a policy."""
    head = _placed(Text(_name(found), "bold"), found)
    order = "" if found["order"] is None else f", order {_number(found['order'])}"
    staged = "; staged: counted, not enforced" if found["staged"] else ""
    about = Text(f"tier {found['tier']}{order}{staged}", DIM)
    selects = Text.assemble(("selects ", DIM), found["selector"] or "all()")
    parts: list[RenderableType] = [head, about, selects]
    for direction in _DIRECTIONS:
        parts += [Text(""), _selected(direction, found[direction])]
    return Group(*parts)


def _selected(direction: str, part: Mapping[str, Any]) -> RenderableType:
    """The pods that one direction governs, by namespace, and the host endpoints."""
    head = Text(direction, "bold")
    if not part["governed"]:
        return head.append("  is not this policy's matter", "not bold dim")
    pods = part["pods"]
    count = f"{len(pods)} pod{'' if len(pods) == 1 else 's'}"
    if hosts := part["hosts"]:
        count += f", {len(hosts)} host endpoint{'' if len(hosts) == 1 else 's'}"
    tree = Tree(head.append(f"  {count}, {_rules(part['rules'])}", "not bold dim"), guide_style=DIM)
    for namespace, names in groupby(pods, key=lambda name: name.partition("/")[0]):
        short = " ".join(name.partition("/")[2] for name in names)
        tree.add(Text.assemble((f"{namespace}/ ", DIM), short))
    if hosts:
        tree.add(Text.assemble(("host endpoints ", DIM), " ".join(hosts)))
    return tree


def _rules(count: int) -> str:
    return "no rule" if not count else "1 rule" if count == 1 else f"{count} rules"


def _name(row: Mapping[str, Any]) -> str:
    space = f"{row['namespace']}/" if row["namespace"] else ""
    return f"{row['kind']} {space}{row['policy']}"


def _placed(line: Text, row: Mapping[str, Any]) -> Text:
    return line.append(f"  {row['place']}", _PLACE) if row["place"] else line


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else str(value)

"""policy diff for people: per direction and pods, what is denied now and what is allowed now.

What is denied comes first, since that is what breaks. Lines wrap, nothing is cut.
"""

from collections.abc import Iterator
from itertools import groupby

from rich.console import Group as Screen
from rich.console import RenderableType
from rich.text import Text
from rich.tree import Tree

from korat.cli.policy_diff import Difference
from korat.cli.policy_ruling import ruling_words
from korat.cli.policy_source import Snapshot
from korat.cli.policy_words import pods_words, traffic_words
from korat.cli.screen import ALLOWED, DENIED, DIM
from korat.core.policy.outcome import Action, Direction
from korat.core.table.compare import Ruling
from korat.core.table.compare_group import Group

_PLACE = "cyan"


def drawn(found: Difference) -> RenderableType:
    """The whole difference."""
    touched = {key for group in found.groups for key in group.endpoints}
    pods = len(found.titles)
    if not touched:
        return Text(f"no verdict changes: {pods} pod{'s' * (pods != 1)} compared")
    head = Text(f"{len(touched)} of {pods} pod{'s' * (pods != 1)} get other verdicts", "bold")
    parts: list[RenderableType] = [head]
    heads = groupby(found.groups, key=lambda group: (group.direction, group.endpoints))
    for _, members in heads:
        parts += [Text(""), _part(found, list(members))]
    return Screen(*parts)


def _part(found: Difference, groups: list[Group]) -> Tree:
    """What changes for the same pods in the same direction."""
    first = groups[0]
    verb = "entering" if first.direction is Direction.INGRESS else "leaving"
    names = pods_words(found.endpoints(first), found.titles.values(), found.labels)
    tree = Tree(Text.assemble((f"{verb} ", DIM), (", ".join(names), "bold")), guide_style=DIM)
    for group in groups:
        node = tree.add(_headline(found, group))
        for line in _reasons(found, group):
            node.add(line)
    return tree


def _headline(found: Difference, group: Group) -> Text:
    """``✘ now denied  everything but TCP 5432  from every pod of shop but cart``."""
    allowed = group.after.action is Action.ALLOW
    mark, colour = ("✔ now allowed", ALLOWED) if allowed else ("✘ now denied", DENIED)
    side = "from" if group.direction is Direction.INGRESS else "to"
    peers = [*found.pods_words(group), *found.strangers(group)]
    line = Text.assemble((mark, f"bold {colour}"), f"  {traffic_words(group.traffic)}")
    line.append(f"  {side} ", DIM)
    return line.append(", ".join(peers) or "itself")


def _reasons(found: Difference, group: Group) -> Iterator[Text]:
    """Who decided before, and who decides after."""
    yield _reason("before", group.before, found.before)
    yield _reason("after", group.after, found.after)


def _reason(when: str, ruling: Ruling, snapshot: Snapshot) -> Text:
    line = Text.assemble((f"{when:6}  {ruling_words(ruling.ref, snapshot)}", DIM))
    place = snapshot.places.of(ruling.ref)
    return line.append(f"  {place}", _PLACE) if place else line

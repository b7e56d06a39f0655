"""policy diff for people: per direction and pods, what is denied now and what is allowed now.

After the pods come the nodes, by way and interfaces. What is denied comes first, since that is what
breaks. Lines wrap, nothing is cut.
"""

from itertools import groupby

from rich.console import Group as Screen
from rich.console import RenderableType
from rich.text import Text
from rich.tree import Tree

from korat.cli.policy_diff import Difference
from korat.cli.policy_diff_host import spots_words
from korat.cli.policy_ruling import ruling_words
from korat.cli.policy_source import Snapshot
from korat.cli.policy_words import pods_words, traffic_words
from korat.cli.screen import ALLOWED, DENIED, DIM
from korat.core.policy.outcome import Action, Direction
from korat.core.table.compare import Ruling
from korat.core.table.compare_group import Group, HostGroup
from korat.core.table.host_plan import Way

_PLACE = "cyan"
_WAYS = {
    Way.TO_NODE: "to the node by",
    Way.FROM_NODE: "from the node by",
    Way.FORWARDED_IN: "through the node, in by",
    Way.FORWARDED_OUT: "through the node, out by",
}


def drawn(found: Difference) -> RenderableType:
    """The whole difference."""
    touched = {key for group in found.groups for key in group.endpoints}
    counts = [(len(touched), len(found.titles), "pod")]
    if found.hosts.endpoints:
        hosts = len(found.hosts.touched), len(found.hosts.endpoints), "host endpoint"
        counts = [*(counts if found.titles else []), hosts]
    if not found:
        compared = " and ".join(_many(there, what) for _, there, what in counts)
        return Text(f"no verdict changes: {compared} compared")
    head = " and ".join(f"{some} of {_many(there, what)}" for some, there, what in counts if some)
    parts: list[RenderableType] = [Text(f"other verdicts for {head}", "bold")]
    for _, members in groupby(found.groups, key=lambda group: (group.direction, group.endpoints)):
        parts += [Text(""), _part(found, list(members))]
    for _, alike in groupby(found.hosts.groups, key=lambda group: (group.way, group.spots)):
        parts += [Text(""), _host_part(found, list(alike))]
    return Screen(*parts)


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def _part(found: Difference, groups: list[Group]) -> Tree:
    """What changes for the same pods in the same direction."""
    first = groups[0]
    verb = "entering" if first.direction is Direction.INGRESS else "leaving"
    names = pods_words(found.endpoints(first), found.titles.values(), found.labels)
    tree = _tree(verb, ", ".join(names))
    for group in groups:
        peers = [*found.pods_words(group), *found.strangers(group)]
        side = "from" if group.direction is Direction.INGRESS else "to"
        _add(tree, found, group, [(side, ", ".join(peers) or "itself")])
    return tree


def _host_part(found: Difference, groups: list[HostGroup]) -> Tree:
    """What changes at the same interfaces on the same way."""
    first = groups[0]
    tree = _tree(_WAYS[first.way], spots_words(first.spots, found.hosts.governors))
    for group in groups:
        sides = ["from", "to"] if group.way.direction is Direction.INGRESS else ["to", "from"]
        ends = [group.peers, *([] if group.ends is None else [group.ends])]
        words = [", ".join(found.anybody_words(each)) for each in ends]
        _add(tree, found, group, list(zip(sides, words, strict=False)))
    return tree


def _tree(verb: str, names: str) -> Tree:
    return Tree(Text.assemble((f"{verb} ", DIM), (names, "bold")), guide_style=DIM)


def _add(
    tree: Tree, found: Difference, group: Group | HostGroup, ends: list[tuple[str, str]]
) -> None:
    """A change, and who decided before and who decides after."""
    node = tree.add(_headline(group, ends))
    node.add(_reason("before", group.before, found.before))
    node.add(_reason("after", group.after, found.after))


def _headline(group: Group | HostGroup, ends: list[tuple[str, str]]) -> Text:
    """``✘ now denied  everything but TCP 5432  from every pod of shop but cart``."""
    allowed = group.after.action is Action.ALLOW
    mark, colour = ("✔ now allowed", ALLOWED) if allowed else ("✘ now denied", DENIED)
    line = Text.assemble((mark, f"bold {colour}"), f"  {traffic_words(group.traffic)}")
    for side, words in ends:
        line.append(f"  {side} ", DIM).append(words)
    return line


def _reason(when: str, ruling: Ruling, snapshot: Snapshot) -> Text:
    line = Text.assemble((f"{when:6}  {ruling_words(ruling.ref, snapshot)}", DIM))
    place = snapshot.places.of(ruling.ref)
    return line.append(f"  {place}", _PLACE) if place else line

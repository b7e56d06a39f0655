"""What korat's verbs put on a screen: tables, the matrix, colours; JSON and YAML for scripts.

Data goes to standard output, everything said about it to standard error. Colour is for terminals
only, and ``NO_COLOR`` turns it off. rich is imported where it is used, so that verbs that print
plain text start fast.
"""

import json
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from korat.core.errors import Invalid, Problem

if TYPE_CHECKING:  # the only use of rich before something is drawn would cost every verb 30 ms
    from rich.console import Console
    from rich.table import Table

#: The wide of a line when standard output is no terminal: nothing is cut for a script.
UNLIMITED = 10_000

ALLOWED = "green"
DENIED = "red"
STAGED = "yellow"
DIM = "dim"


def out() -> "Console":
    """Standard output; cuts and wraps nothing when it is not a terminal."""
    from rich.console import Console  # noqa: PLC0415  # see the module's docstring

    return Console(highlight=False, width=None if sys.stdout.isatty() else UNLIMITED)


def err() -> "Console":
    """Standard error."""
    from rich.console import Console  # noqa: PLC0415  # see the module's docstring

    return Console(highlight=False, stderr=True, soft_wrap=True)


def say(sentence: str) -> None:
    """Tell the user something that is not data."""
    print(sentence, file=sys.stderr)  # noqa: T201  # the one place that speaks to standard error


def put(text: str) -> None:
    """Write data to standard output."""
    sys.stdout.write(text if text.endswith("\n") else f"{text}\n")


def emit(value: object, output: str) -> None:
    """Print a value as ``json`` or ``yaml``, alone on standard output."""
    if output == "json":
        put(json.dumps(value, indent=2, ensure_ascii=False))
        return
    from korat.cli.dialect import dump  # noqa: PLC0415  # JSON needs no YAML

    put(dump(value))


def one_of(output: str, known: Sequence[str]) -> str:
    """Check an ``-o`` value.

    Raises:
        Invalid: there is no such output format here.
    """
    if output not in known:
        rule = f"no such output format; there are {', '.join(word for word in known if word)}"
        raise Invalid([Problem("", "-o", output, rule)])
    return output


def columns(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A plain table as calicoctl and kubectl print it: no frame, nothing cut, three spaces."""
    lines = [tuple(titles), *(tuple(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(titles))]
    return "\n".join(
        "   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def framed(
    titles: Sequence[str], rows: Iterable[Sequence[str]], numbers: Collection[str] = ()
) -> str:
    """A table in a frame, as ``calicoctl ipam`` prints it; ``numbers`` are columns set right."""
    lines = [tuple(titles), *(tuple(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(titles))]
    edge = f"+{'+'.join('-' * (width + 2) for width in widths)}+"

    def drawn(line: Sequence[str], right: Collection[str]) -> str:
        cells = (
            cell.rjust(width) if title in right else cell.ljust(width)
            for title, cell, width in zip(titles, line, widths, strict=True)
        )
        return f"| {' | '.join(cells)} |"

    body = [drawn(line, numbers) for line in lines[1:]]
    return "\n".join([edge, drawn(lines[0], ()), edge, *body, *([edge] if body else [])])


def table(title: str, titles: Sequence[str], rows: Iterable[Sequence[Any]]) -> "Table":
    """A table for people: a title, quiet heads, no frame."""
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415  # see the module's docstring
    from rich.table import Table  # noqa: PLC0415

    drawn = Table(title=title or None, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    for head in titles:
        drawn.add_column(head, header_style=DIM, overflow="fold")
    for row in rows:
        drawn.add_row(*row)
    return drawn


def matrix(
    sources: Mapping[str, str], targets: Mapping[str, str], cell: Callable[[str, str], str]
) -> "Table":
    """Who may talk to whom: sources down, targets across, each with what is written for it.

    ``cell`` returns rich markup, ``[green]●[/]`` for instance.
    """
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415  # see the module's docstring
    from rich.table import Table  # noqa: PLC0415

    drawn = Table(box=SIMPLE_HEAD, padding=(0, 1))
    drawn.add_column("from \\ to", header_style=DIM, no_wrap=True)
    for head in targets.values():
        drawn.add_column(head, header_style=DIM, justify="center", no_wrap=True)
    for source, label in sources.items():
        drawn.add_row(label, *(cell(source, target) for target in targets))
    return drawn

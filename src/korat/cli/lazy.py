"""A group of commands whose modules are imported when they run, not when korat starts.

``korat --help`` needs a name and a sentence of each; typer would import every verb for that, and
with them the whole program.
"""

import importlib
import inspect
from dataclasses import dataclass
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command as built
from typing_extensions import override

from korat.core.errors import Unsupported

SETTINGS = {"help_option_names": ["-h", "--help"]}


@dataclass(frozen=True, slots=True)
class Entry:
    """One command: its name, where it is (``module:attribute``), what it does, its panel."""

    name: str
    target: str
    summary: str
    panel: str


class LazyGroup(TyperGroup):
    """A group that knows its commands from a table; a stand-in of each is there for the help."""

    entries: tuple[Entry, ...] = ()

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401  # typer's own
        super().__init__(**settings)
        for entry in self.entries:
            self.commands[entry.name] = TyperCommand(
                entry.name, help=entry.summary, rich_help_panel=entry.panel, add_help_option=False
            )

    @override
    def list_commands(self, ctx: Any) -> list[str]:
        return [entry.name for entry in self.entries]

    @override
    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        for entry in self.entries:
            if args and entry.name == args[0]:
                return entry.name, load(entry), args[1:]
        return super().resolve_command(ctx, args)


def load(entry: Entry) -> Any:  # noqa: ANN401  # typer gives its commands no public type
    """The command itself.

    Raises:
        Unsupported: this korat was built without it.
    """
    module, _, attribute = entry.target.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        raise Unsupported(
            f"korat {entry.name} needs the Python package {error.name}, which is not installed",
            "install korat with its extras: pip install 'korat[lab]'",
        ) from error
    if isinstance(found, typer.Typer):
        return _unwrapped(built(found))
    app = typer.Typer(add_completion=False, context_settings=SETTINGS)
    app.command(name=entry.name)(found)
    return _unwrapped(built(app))


def _unwrapped(command: Any) -> Any:  # noqa: ANN401  # as above
    """The command, its help in paragraphs that the screen may wrap where it likes."""
    paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
    command.help = "\n\n".join(" ".join(each.split()) for each in paragraphs)
    for inner in getattr(command, "commands", {}).values():
        _unwrapped(inner)
    return command

"""get: Calico's own objects as tables, JSON or YAML."""

import math
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer
from msgspec.structs import replace

from korat.cli import option
from korat.cli.connect import connect
from korat.cli.manifest import read_items
from korat.cli.screen import columns, emit, one_of, put
from korat.cli.tally import counted
from korat.cli.target import key_named, kind_named
from korat.core.errors import Invalid, KoratError, Problem
from korat.core.model.codec import to_dict
from korat.core.model.column import Column
from korat.core.model.key import DEFAULT_NAMESPACE, Key
from korat.core.model.kind import KINDS, Kind
from korat.core.model.policy import Tier
from korat.core.model.resource import Resource
from korat.drivers.store.client import Objects, missing

_OUTPUTS = ("ps", "wide", "json", "yaml", "custom-columns=A,B")
_CUSTOM = "custom-columns="


def get(  # noqa: PLR0913  # calicoctl's options
    kind: Annotated[str, typer.Argument(metavar="[KIND]", show_default=False)] = "",
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", show_default=False)
    ] = None,
    *,
    files: option.Files = [],  # noqa: B006  # typer copies it
    recursive: option.Recursive = False,
    output: Annotated[
        str,
        typer.Option("-o", "--output", metavar="FORMAT", help=f"One of {', '.join(_OUTPUTS)}."),
    ] = "ps",
    namespace: option.Namespace = "",
    everywhere: Annotated[
        bool, typer.Option("-A", "-a", "--all-namespaces", help="From every namespace.")
    ] = False,
    export: Annotated[
        bool, typer.Option("--export", help="Leave out what belongs to this store alone.")
    ] = False,
    config: option.Config = "",
) -> None:
    """Show objects of one KIND, by NAME, or those that files name."""
    if bool(files) == bool(kind):
        raise typer.BadParameter("give either KIND [NAME...] or -f FILE")
    if not output.startswith(_CUSTOM):
        one_of(output, _OUTPUTS)
    if files:
        items = read_items(files, namespace, recursive=recursive, skip_empty=False)
        keys = [resource.key for item in items for resource in item.resources]
        found = _at(connect(config).read(), keys)
        _show_files(found, output, export=export, config=config)
        return
    chosen = counted(kind_named(kind), output, config)
    objects = connect(config).read([chosen.name])
    space = "" if everywhere or not chosen.namespaced else namespace or DEFAULT_NAMESPACE
    if names:
        found = _at(objects, [key_named(chosen, name, namespace) for name in names])
        _show(chosen, found, output, listed=None, export=export)
        return
    found = sorted(objects.of(chosen.name, space), key=_rank)
    namespaced = everywhere and chosen.namespaced
    _show(chosen, found, output, listed=objects, export=export, namespaced=namespaced)


def _rank(resource: Resource) -> tuple[float, Key]:
    """Tiers in the order in which they are asked, everything else by name."""
    if isinstance(resource, Tier):
        order = resource.spec.order
        return (math.inf if order is None else order, resource.key)
    return (0, resource.key)


def _at(objects: Objects, keys: Iterable[Key]) -> list[Resource]:
    """The objects of these keys.

    Raises:
        KoratError: any of them is not there.
    """
    wanted = list(keys)
    absent = [str(missing(key)) for key in wanted if key not in objects.by_key]
    if absent:
        raise KoratError("\n".join(absent))
    return [objects.by_key[key] for key in wanted]


def _show(
    kind: Kind,
    found: Sequence[Resource],
    output: str,
    *,
    listed: Objects | None,
    export: bool = False,
    namespaced: bool = False,
) -> None:
    """Print objects of one kind; ``listed`` when they are a list and were not asked for by name."""
    if output not in ("json", "yaml"):
        put(_table(kind, found, output, namespaced=namespaced))
        return
    values = [printed(resource, export=export) for resource in found]
    if listed is not None:
        emit(_list_object(kind, values, listed.revision), output)
    else:
        emit(values[0] if len(values) == 1 else values, output)


def _show_files(found: Sequence[Resource], output: str, *, export: bool, config: str) -> None:
    """Print the objects of files: one value, or a table for each kind."""
    if output in ("json", "yaml"):
        values = [printed(resource, export=export) for resource in found]
        emit(values[0] if len(values) == 1 else values, output)
        return
    tables = []
    for kind in dict.fromkeys(resource.kind for resource in found):
        own = [resource for resource in found if resource.kind == kind]
        shown = counted(KINDS[kind], output, config)
        tables.append(_table(shown, own, output, namespaced=shown.namespaced))
    put("\n\n".join(tables))


def printed(resource: Resource, *, export: bool = False) -> dict[str, Any]:
    """An object as it is shown; for export without what only this store gave it."""
    if not export:
        return to_dict(resource, int(resource.metadata.resource_version or 0))
    bare = replace(resource.metadata, uid="", creation_timestamp=None, generation=0)
    return to_dict(replace(resource, metadata=bare))


def _list_object(kind: Kind, values: list[dict[str, Any]], revision: int) -> dict[str, Any]:
    """``NetworkPolicyList`` and the like."""
    return {
        "kind": f"{kind.name}List",
        "apiVersion": kind.api_version,
        "metadata": {"resourceVersion": str(revision)},
        "items": values,
    }


def _table(kind: Kind, found: Sequence[Resource], output: str, *, namespaced: bool) -> str:
    """The columns of a kind, or those that the user names."""
    shown = _columns(kind, output)
    if namespaced:
        shown = (("NAMESPACE", lambda resource: resource.metadata.namespace), *shown)
    rows = [[cell(resource) for _, cell in shown] for resource in found]
    return columns([title for title, _ in shown], rows)


def _columns(kind: Kind, output: str) -> tuple[Column, ...]:
    """The columns of an output format.

    Raises:
        Invalid: the kind has no column of that name.
    """
    if not output.startswith(_CUSTOM):
        return kind.wide if output == "wide" else kind.columns
    known = {title: (title, cell) for title, cell in (*kind.columns, *kind.wide)}
    wanted = [word.strip().upper() for word in output.removeprefix(_CUSTOM).split(",")]
    unknown = [word for word in wanted if word not in known]
    if unknown:
        rule = f"{kind.name} has no such column; there are {', '.join(known)}"
        raise Invalid([Problem("", "-o custom-columns", word, rule) for word in unknown])
    return tuple(known[word] for word in wanted)

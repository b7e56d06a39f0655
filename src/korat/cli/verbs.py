"""create, apply, replace, delete and validate: files in, Calico's sentences out."""

from collections.abc import Iterable, Sequence
from typing import Annotated

import typer
from msgspec.structs import replace

from korat import __version__
from korat.cli import option
from korat.cli.connect import connect
from korat.cli.manifest import Item, read_items
from korat.cli.screen import put, say
from korat.cli.target import key_named, kind_named, refuse_kubernetes
from korat.core.errors import KoratError
from korat.drivers.store.batch import Outcome, Refused, Verb, prepare, write
from korat.drivers.store.client import Client, initialize, missing

_PAST = {
    Verb.CREATE: "created",
    Verb.APPLY: "applied",
    Verb.REPLACE: "replaced",
    Verb.DELETE: "deleted",
}


def create(
    files: option.Files,
    *,
    recursive: option.Recursive = False,
    skip_empty: option.SkipEmpty = False,
    skip_exists: Annotated[
        bool, typer.Option("--skip-exists", help="Pass over objects that exist already.")
    ] = False,
    namespace: option.Namespace = "",
    config: option.Config = "",
) -> None:
    """Create the objects of files; none may exist yet."""
    items = read_items(files, namespace, recursive=recursive, skip_empty=skip_empty)
    _run(connect(config), Verb.CREATE, items, tolerant=skip_exists)


def apply(
    files: option.Files,
    *,
    recursive: option.Recursive = False,
    skip_empty: option.SkipEmpty = False,
    namespace: option.Namespace = "",
    config: option.Config = "",
) -> None:
    """Create the objects of files or replace those that exist.

    Everything is checked before anything is written.
    """
    items = read_items(files, namespace, recursive=recursive, skip_empty=skip_empty)
    _run(connect(config), Verb.APPLY, items)


def replace_(
    files: option.Files,
    *,
    recursive: option.Recursive = False,
    skip_empty: option.SkipEmpty = False,
    namespace: option.Namespace = "",
    config: option.Config = "",
) -> None:
    """Replace the objects of files; all must exist."""
    items = read_items(files, namespace, recursive=recursive, skip_empty=skip_empty)
    _run(connect(config), Verb.REPLACE, items)


def delete(  # noqa: PLR0913  # calicoctl's options
    kind: Annotated[str, typer.Argument(metavar="[KIND]", show_default=False)] = "",
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", show_default=False)
    ] = None,
    *,
    files: option.Files = [],  # noqa: B006  # typer copies it
    recursive: option.Recursive = False,
    skip_empty: option.SkipEmpty = False,
    skip_not_exists: Annotated[
        bool, typer.Option("-s", "--skip-not-exists", help="Pass over objects that are gone.")
    ] = False,
    namespace: option.Namespace = "",
    config: option.Config = "",
) -> None:
    """Delete objects, by KIND and NAME or as files hold them."""
    if bool(files) == bool(kind and names):
        raise typer.BadParameter("give either KIND NAME... or -f FILE")
    if files:
        items = read_items(files, namespace, recursive=recursive, skip_empty=skip_empty)
        _run(connect(config), Verb.DELETE, items, tolerant=skip_not_exists)
        return
    client = connect(config)
    items = _named(client, kind, names or [], namespace, tolerant=skip_not_exists)
    _run(client, Verb.DELETE, items, tolerant=skip_not_exists)


def validate(
    files: option.Files,
    *,
    recursive: option.Recursive = False,
    skip_empty: option.SkipEmpty = False,
    namespace: option.Namespace = "",
) -> None:
    """Check files without a store."""
    items = read_items(files, namespace, recursive=recursive, skip_empty=skip_empty)
    if items:
        put(_success("validated", items))


def _named(
    client: Client, word: str, names: Iterable[str], namespace: str, *, tolerant: bool
) -> list[Item]:
    """The stored objects of these names, to be deleted whatever their resourceVersion."""
    kind = kind_named(word)
    there = client.read([kind.name]).by_key
    items, errors = [], []
    for name in names:
        key = key_named(kind, name, namespace)
        refuse_kubernetes("delete", key)
        found = there.get(key)
        if found is not None:
            bare = replace(found, metadata=replace(found.metadata, resource_version=""))
            items.append(Item(kind.name, "", (bare,)))
        elif not tolerant:
            errors.append(missing(key))
    if errors:
        raise _refusal(Verb.DELETE, kind.name, len(items) + len(errors), errors)
    return items


def _run(client: Client, verb: Verb, items: Sequence[Item], *, tolerant: bool = False) -> None:
    """Do it and say what was done, in calicoctl's words.

    Raises:
        KoratError: nothing or not everything was done.
    """
    if not items:
        return
    resources = [resource for item in items for resource in item.resources]
    try:
        batch = prepare(client, verb, resources, tolerant=tolerant)
    except Refused as error:
        raise _refusal(verb, _single_kind(items), len(items), error.errors) from error
    except KoratError as error:
        raise _refusal(verb, _single_kind(items), len(items), [error]) from error
    if verb is not Verb.DELETE and batch.resources:
        initialize(client, __version__)
    outcome = write(client, batch)
    for note in outcome.notes:
        say(note)
    _report(verb, items, outcome)


def _report(verb: Verb, items: Sequence[Item], outcome: Outcome) -> None:
    """Print the success, or what came before the error."""
    if outcome.error is None:
        put(_success(_PAST[verb], items))
        return
    done = [item for item in items if all(r.key in outcome.keys for r in item.resources)]
    if not done:
        raise _refusal(verb, _single_kind(items), len(items), [outcome.error])
    kind = _single_kind(items)
    what = f"'{kind}' resources" if kind else "resources"
    put(f"Partial success: {_PAST[verb]} the first {len(done)} out of {len(items)} {what}:")
    raise KoratError(f"hit error: [{outcome.error}]")


def _success(past: str, items: Sequence[Item]) -> str:
    """``Successfully applied 3 'NetworkPolicy' resource(s)``."""
    kind = _single_kind(items)
    what = f"'{kind}' resource(s)" if kind else "resource(s)"
    return f"Successfully {past} {len(items)} {what}"


def _single_kind(items: Iterable[Item]) -> str:
    """The kind that all items have, or nothing."""
    kinds = {item.kind for item in items}
    return kinds.pop() if len(kinds) == 1 else ""


def _refusal(verb: Verb, kind: str, count: int, errors: Sequence[KoratError]) -> KoratError:
    """``failed to apply any 'NetworkPolicy' resources: [...]``."""
    what = f"'{kind}' resource" if kind and count == 1 else ""
    if not what:
        what = f"any '{kind}' resources" if kind else "any resources"
    inner = ",\n  ".join(str(error) for error in errors)
    return KoratError(f"failed to {verb.value} {what}: [{inner}]")

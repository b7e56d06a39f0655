"""patch and label: change one stored object and write it back if nobody else did meanwhile."""

import json
from enum import StrEnum
from typing import Annotated

import typer
from msgspec.structs import replace

from korat.cli import option
from korat.cli.connect import connect
from korat.cli.jsonpatch import merge, patched
from korat.cli.screen import put
from korat.cli.target import key_named, kind_named, refuse_kubernetes
from korat.core.errors import Invalid, KoratError, Problem
from korat.core.model.codec import to_dict
from korat.core.model.decode import decode
from korat.core.model.resource import Resource
from korat.core.model.validate import validate
from korat.drivers.store.batch import Outcome, Refused, Verb, run
from korat.drivers.store.client import Client


class PatchType(StrEnum):
    """How a patch is written."""

    STRATEGIC = "strategic"
    MERGE = "merge"
    JSON = "json"


def patch(
    kind: option.KindWord,
    name: option.Name,
    change: Annotated[
        str, typer.Option("-p", "--patch", metavar="JSON", help='{"spec": {"order": 5}}')
    ],
    form: Annotated[
        PatchType,
        typer.Option("-t", "--type", help="strategic is taken as merge, json is RFC 6902."),
    ] = PatchType.STRATEGIC,
    namespace: option.Namespace = "",
    config: option.Config = "",
) -> None:
    """Change parts of one object."""
    chosen = kind_named(kind)
    key = key_named(chosen, name, namespace)
    client = connect(config)
    try:
        refuse_kubernetes("patch", key)
        before = client.get(key)
        _write(client, before, _patched(before, change, form))
    except KoratError as error:
        raise KoratError(f"failed to patch '{chosen.name}' resource: [{error}]") from error
    put(f"Successfully patched 1 '{chosen.name}' resource")


def label(  # noqa: PLR0913  # calicoctl's options
    kind: option.KindWord,
    name: option.Name,
    pair: Annotated[str, typer.Argument(metavar="KEY[=VALUE]")],
    *,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Change a label.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Take a label away.")] = False,
    namespace: option.Namespace = "",
    config: option.Config = "",
) -> None:
    """Set a label with KEY=VALUE, take it away with KEY --remove."""
    label_key, equals, value = pair.partition("=")
    if not label_key or bool(equals) is remove:
        raise typer.BadParameter("give KEY=VALUE, or KEY --remove")
    chosen = kind_named(kind)
    key = key_named(chosen, name, namespace)
    refuse_kubernetes("label", key)
    client = connect(config)
    before = client.get(key)
    labels = dict(before.metadata.labels)
    there = label_key in labels
    _refuse_label(
        f"{chosen.name} {name}", label_key, there=there, overwrite=overwrite, remove=remove
    )
    if remove:
        del labels[label_key]
    else:
        labels[label_key] = value
    changed = replace(before, metadata=replace(before.metadata, labels=labels))
    _write(client, before, decode(to_dict(changed)))
    done = "removed" if remove else "updated" if there else "set"
    where = "from" if remove else "on"
    put(f"Successfully {done} label {label_key} {where} {chosen.name} {name}")


def _refuse_label(
    title: str, label_key: str, *, there: bool, overwrite: bool, remove: bool
) -> None:
    """Refuse what calicoctl refuses."""
    if remove and not there:
        raise KoratError(f"can not remove label of {title}, key {label_key} does not exist")
    if there and not remove and not overwrite:
        remedy = "please use '--overwrite' to set a new value."
        what = f"key {label_key} is already present. {remedy}"
        raise KoratError(f"failed to update label of {title}, {what}")


def _patched(before: Resource, text: str, form: PatchType) -> Resource:
    """The object with the patch applied, decoded as if a user had written it.

    Raises:
        Invalid: the patch is no JSON, cannot be applied, or leaves no legal object.
    """
    try:
        change = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise Invalid([Problem("the patch", "", text, f"is not JSON: {error}")]) from error
    raw = to_dict(before)
    after = patched(raw, change) if form is PatchType.JSON else merge(raw, change)
    found = decode(after)
    if found.key != before.key:
        rule = "a patch cannot rename an object or move it"
        raise Invalid([Problem(before.title, "metadata", str(found.key), rule)])
    return found


def _write(client: Client, before: Resource, after: Resource) -> None:
    """Write it under the revision that was read.

    Raises:
        KoratError: it breaks a rule, or somebody else wrote.
    """
    problems = validate(after)
    if problems:
        raise Invalid(problems)
    version = before.metadata.resource_version
    versioned = replace(after, metadata=replace(after.metadata, resource_version=version))
    try:
        outcome: Outcome = run(client, Verb.REPLACE, [versioned])
    except Refused as error:
        raise KoratError(", ".join(str(each) for each in error.errors)) from error
    if outcome.error is not None:
        raise outcome.error

"""JSON merge patch and JSON patch: pure changes of plain values.

Source: RFC 7386 (merge patch), RFC 6902 (patch), RFC 6901 (pointer).
"""

import copy
from typing import Any

from korat.core.errors import Invalid, Problem

Json = Any


def merge(target: Json, patch: Json) -> Json:
    """RFC 7386: maps are merged, null removes, everything else replaces."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(merged.get(key), value)
    return merged


def patched(target: Json, steps: Json) -> Json:
    """RFC 6902: one step after the other, all or none.

    Raises:
        Invalid: a step is malformed, its path leads nowhere, or its test fails.
    """
    if not isinstance(steps, list):
        raise _fault("", steps, "a JSON patch is a list of steps")
    result = copy.deepcopy(target)
    for i, step in enumerate(steps):
        if not isinstance(step, dict) or not isinstance(step.get("path"), str):
            raise _fault(f"[{i}]", step, "a step is a mapping with op and path")
        result = _step(result, step, f"[{i}]")
    return result


def _step(target: Json, step: dict[str, Json], where: str) -> Json:
    """One step."""
    path = step["path"]
    match step.get("op"):
        case "add":
            return _added(target, path, _value(step, where), where)
        case "replace":
            return _added(_removed(target, path, where), path, _value(step, where), where)
        case "remove":
            return _removed(target, path, where)
        case "move" | "copy" as op:
            source = step.get("from")
            if not isinstance(source, str):
                raise _fault(where, source, f"{op} needs a path in from")
            value = copy.deepcopy(_found(target, source, where))
            rest = _removed(target, source, where) if op == "move" else target
            return _added(rest, path, value, where)
        case "test":
            if _found(target, path, where) != _value(step, where):
                raise _fault(where, path, "the test failed: another value is there")
            return target
        case op:
            raise _fault(where, op, "op is one of add, remove, replace, move, copy, test")


def _value(step: dict[str, Json], where: str) -> Json:
    if "value" not in step:
        raise _fault(where, step.get("op"), "this op needs a value")
    return step["value"]


def _tokens(path: str, where: str) -> list[str]:
    """The steps of a JSON pointer."""
    if path and not path.startswith("/"):
        raise _fault(where, path, "a path is empty or starts with /")
    return [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")[1:]]


def _found(target: Json, path: str, where: str) -> Json:
    """The value at a path."""
    for token in _tokens(path, where):
        target = _child(target, token, path, where)
    return target


def _child(parent: Json, token: str, path: str, where: str) -> Json:
    """The value one step down."""
    if isinstance(parent, dict) and token in parent:
        return parent[token]
    if isinstance(parent, list) and token.isdecimal() and int(token) < len(parent):
        return parent[int(token)]
    raise _fault(where, path, "there is nothing at this path")


def _added(target: Json, path: str, value: Json, where: str) -> Json:
    """The value with something put in; a list grows, ``-`` is its end."""
    tokens = _tokens(path, where)
    if not tokens:
        return value
    parent, last = target, tokens[-1]
    for token in tokens[:-1]:
        parent = _child(parent, token, path, where)
    if isinstance(parent, dict):
        parent[last] = value
    elif isinstance(parent, list) and last == "-":
        parent.append(value)
    elif isinstance(parent, list) and last.isdecimal() and int(last) <= len(parent):
        parent.insert(int(last), value)
    else:
        raise _fault(where, path, "nothing can be put at this path")
    return target


def _removed(target: Json, path: str, where: str) -> Json:
    """The value with something taken out."""
    tokens = _tokens(path, where)
    if not tokens:
        return None
    parent, last = target, tokens[-1]
    for token in tokens[:-1]:
        parent = _child(parent, token, path, where)
    _child(parent, last, path, where)
    if isinstance(parent, dict):
        del parent[last]
    else:
        del parent[int(last)]
    return target


def _fault(where: str, value: Json, rule: str) -> Invalid:
    return Invalid([Problem(f"the patch{where}", "", value, rule)])

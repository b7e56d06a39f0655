"""Puts a plugin into the text of a CNI configuration list and leaves every other character alone.

Another program wrote the file and may look after it, so it is not written anew from what was read.
Not imported by the plugin.
Source: CNI specification 1.1.0, section 1.
"""

import json
import re
from collections.abc import Iterator, Mapping

_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()


def with_second_plugin(text: str, plugin: Mapping[str, object]) -> str:
    """The list with this plugin right after its first one; the same when it is in it already.

    Raises:
        ValueError: it is no list of plugins, or the plugin is its first; words to go after the
            file's name.
    """
    before = _listed(text)
    types = [each.get("type") for each in before["plugins"]]
    if plugin["type"] == types[0]:
        raise ValueError(f"has {plugin['type']} as its first plugin: it must follow one that makes")
    if plugin["type"] in types:
        return text
    begin, end = _first_item(text)
    gap = text[begin : _skip(text, begin)]
    after = f"{text[:end]},{gap or ' '}{json.dumps(plugin)}{text[end:]}"
    wanted = [before["plugins"][0], plugin, *before["plugins"][1:]]
    if json.loads(after) != {**before, "plugins": wanted}:
        raise ValueError("names a key twice: write each once")
    return after


def _listed(text: str) -> dict[str, list[dict[str, object]]]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is not JSON: {error}") from error
    plugins = found.get("plugins") if isinstance(found, dict) else None
    if not isinstance(plugins, list) or not plugins:
        raise ValueError("has no list of plugins: only a *.conflist can have another one")
    if not all(isinstance(each, dict) for each in plugins):
        raise ValueError("has something in its list of plugins that is no object")
    return {**found, "plugins": plugins}


def _first_item(text: str) -> tuple[int, int]:
    """Where the list of plugins begins, after its bracket, and where its first item ends."""
    begin = next(at for key, at in _members(text) if key == "plugins") + len("[")
    _, end = _DECODER.raw_decode(text, _skip(text, begin))
    return begin, end


def _members(text: str) -> Iterator[tuple[str, int]]:
    """The keys of an object's text, and where the value of each begins."""
    at = _skip(text, _skip(text, 0) + len("{"))
    while text[at] != "}":
        key, at = _DECODER.raw_decode(text, at)
        at = _skip(text, _skip(text, at) + len(":"))
        yield key, at
        _, at = _DECODER.raw_decode(text, at)
        at = _skip(text, at)
        if text[at] == ",":
            at = _skip(text, at + len(","))


def _skip(text: str, at: int) -> int:
    """The next place that is no white space."""
    match = _SPACE.match(text, at)
    return match.end() if match else at

"""What every store says when it refuses, in one place so that the drivers agree to the word."""

from korat.core.errors import Conflict, NotFound
from korat.core.model.key import Key


def already_exists(key: Key) -> Conflict:
    """``create`` of what is there."""
    return Conflict(f"{key} exists already", "use replace or apply to change it")


def gone(key: Key) -> NotFound:
    """``update`` of what is not there."""
    return NotFound(f"{key} does not exist", "use create or apply to make it")


def changed(key: Key, expected: int, present: int) -> Conflict:
    """A lost compare-and-swap."""
    return Conflict(
        f"{key} was changed by someone else: revision {expected} was expected, {present} is there",
        "read it again and repeat the change",
    )


def too_old(after: int, oldest: int) -> NotFound:
    """A watch from a revision whose changes were pruned; ``oldest`` is the first that resumes."""
    return NotFound(
        f"changes after revision {after} are no longer kept, only those after {oldest}",
        "list again and watch from the list's revision",
    )


def too_new(after: int, head: int) -> NotFound:
    """A watch from a revision that was never given, as after a store was made anew."""
    return NotFound(
        f"this store is at revision {head} and never had revision {after}",
        "list again and watch from the list's revision",
    )

"""Another process that uses a sqlite store, for the contract's tests: ``PATH ROLE NUMBER``.

create N   makes N objects named after this process, then ends
count N    adds 1 to the object ``counter`` N times, by compare-and-swap
echo N     answers each of N changes of ``ping`` by one of ``pong``, as soon as its watch tells it
"""

import os
import sys
from pathlib import Path

from korat.core.errors import Conflict
from korat.core.model.key import Key
from korat.drivers.store.sqlite import SqliteStore

COUNTER = Key("Node", "", "counter")
PING = Key("Node", "", "ping")
PONG = Key("Node", "", "pong")


def create(store: SqliteStore, number: int) -> None:
    """Make ``number`` objects."""
    for each in range(number):
        store.create(Key("Node", "", f"{os.getpid()}-{each}"), b"{}")


def count(store: SqliteStore, number: int) -> None:
    """Add 1 ``number`` times."""
    for _ in range(number):
        while not _incremented(store):
            pass


def _incremented(store: SqliteStore) -> bool:
    record = next(r for r in store.list().records if r.key == COUNTER)
    try:
        store.update(COUNTER, b"%d" % (int(record.value) + 1), record.revision)
    except Conflict:
        return False
    return True


def echo(store: SqliteStore, number: int) -> None:
    """Answer ``number`` pings."""
    with store.watch(store.list().revision) as watch:
        pong = store.create(PONG, b"")
        answered = 0
        while answered < number:
            for event in watch.poll(30):
                if event.key == PING:
                    pong = store.update(PONG, event.record.value, pong.revision)
                    answered += 1


def main() -> None:
    """Play the role that the command line names."""
    path, role, number = sys.argv[1:]
    store = SqliteStore(Path(path))
    {"create": create, "count": count, "echo": echo}[role](store, int(number))
    store.close()


if __name__ == "__main__":
    main()

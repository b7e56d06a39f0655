"""etcd's messages as korat's values."""

from korat.drivers.etcd import etcd_pb2 as pb
from korat.drivers.etcd.value import Change, Found, Item, Outcome, from_bytes


def item_of(stored: pb.KeyValue) -> Item:
    """A key with its value."""
    return Item(
        from_bytes(stored.key),
        stored.value,
        stored.create_revision,
        stored.mod_revision,
        stored.lease,
    )


def found_of(answer: pb.RangeResponse) -> Found:
    """What a range held."""
    items = tuple(item_of(stored) for stored in answer.kvs)
    return Found(answer.header.revision, items, answer.more)


def outcome_of(answer: pb.TxnResponse) -> Outcome:
    """How a transaction ended."""
    items = tuple(_first(each) for each in answer.responses)
    return Outcome(answer.succeeded, answer.header.revision, items)


def _first(answer: pb.ResponseOp) -> Item | None:
    match answer.WhichOneof("response"):
        case "response_range":
            stored = answer.response_range.kvs
        case "response_delete_range":
            stored = answer.response_delete_range.prev_kvs
        case _:
            return None
    return item_of(stored[0]) if stored else None


def change_of(event: pb.Event) -> Change:
    """A change that a watch tells of."""
    stored = event.kv
    # A message that is not there reads as one without a key, which no key is.
    before = item_of(event.prev_kv) if event.prev_kv.key else None
    item = None if event.type == pb.Event.DELETE else item_of(stored)
    return Change(from_bytes(stored.key), stored.mod_revision, item, before)

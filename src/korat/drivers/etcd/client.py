"""korat's client of etcd: ranges, transactions, leases, watches.

Several members, each call with a deadline, TLS and users, and words about what is not known: a
transaction whose member vanished ends in ``OutcomeUnknown``. Safe for many threads. Importing this
imports gRPC, so whoever may never talk to etcd imports it late.

Not for what the keys mean.
Source: etcd-io/etcd, api/etcdserverpb/rpc.proto; etcd's client library in Go, for the semantics.
"""

from collections.abc import Iterable, Sequence
from typing import Self

from korat.core.errors import NotFound
from korat.drivers.etcd import etcd_pb2 as pb
from korat.drivers.etcd.call import Caller, Method
from korat.drivers.etcd.decode import found_of, outcome_of
from korat.drivers.etcd.settings import EtcdSettings
from korat.drivers.etcd.value import (
    Absent,
    Act,
    Condition,
    Delete,
    Found,
    Get,
    Item,
    Outcome,
    Put,
    Unchanged,
    end_of,
    to_bytes,
)
from korat.drivers.etcd.watch import EtcdWatch

_RANGE = Method("read keys", "/etcdserverpb.KV/Range", pb.RangeResponse.FromString)
_TXN = Method("change keys", "/etcdserverpb.KV/Txn", pb.TxnResponse.FromString, repeatable=False)
# A lease that was granted twice is one that nobody uses, and ends by itself.
_GRANT = Method("grant a lease", "/etcdserverpb.Lease/LeaseGrant", pb.LeaseGrantResponse.FromString)
_KEEP_ALIVE = Method(
    "keep a lease",
    "/etcdserverpb.Lease/LeaseKeepAlive",
    pb.LeaseKeepAliveResponse.FromString,
    stream=True,
)
_REVOKE = Method(
    "revoke a lease", "/etcdserverpb.Lease/LeaseRevoke", pb.LeaseRevokeResponse.FromString
)
_TIME_TO_LIVE = Method(
    "ask for a lease",
    "/etcdserverpb.Lease/LeaseTimeToLive",
    pb.LeaseTimeToLiveResponse.FromString,
)


class Etcd:
    """A client; nothing is connected before the first call.

    Every method raises ``Unavailable`` when no member answers or the user may not, ``Invalid``
    when etcd refuses the request for what it says.
    """

    def __init__(self, settings: EtcdSettings) -> None:
        self._caller = Caller(settings)

    def get(self, key: str, revision: int = 0) -> Item | None:
        """One key, now or as of a revision; None when it is not there.

        Raises:
            Compacted: the revision is no longer kept.
        """
        request = pb.RangeRequest(key=to_bytes(key), revision=revision)
        items = found_of(self._caller.call(_RANGE, request)).items
        return items[0] if items else None

    def range(
        self, prefix: str, *, revision: int = 0, limit: int = 0, keys_only: bool = False
    ) -> Found:
        """All keys that begin with this, now or as of a revision; at most ``limit``, unless 0.

        Raises:
            Compacted: the revision is no longer kept.
        """
        first = to_bytes(prefix)
        request = pb.RangeRequest(
            # All keys begin with nothing, and no key is nothing.
            key=first or b"\0",
            range_end=end_of(first),
            revision=revision,
            limit=limit,
            keys_only=keys_only,
        )
        return found_of(self._caller.call(_RANGE, request))

    def txn(
        self, conditions: Iterable[Condition], success: Sequence[Act], failure: Sequence[Act] = ()
    ) -> Outcome:
        """Carry out ``success`` if all conditions hold, ``failure`` if not; all at once.

        Raises:
            OutcomeUnknown: it may have been done; read before it is tried again.
        """
        request = pb.TxnRequest(
            compare=[_compare(condition) for condition in conditions],
            success=[_act(act) for act in success],
            failure=[_act(act) for act in failure],
        )
        return outcome_of(self._caller.call(_TXN, request))

    def delete(self, key: str) -> Item | None:
        """Remove a key, and answer what was there.

        Raises:
            OutcomeUnknown: it may have been done; read before it is tried again.
        """
        return self.txn((), [Delete(key)]).items[0]

    def grant(self, ttl_s: float) -> int:
        """A new lease for so long, in whole seconds, by its number."""
        request = pb.LeaseGrantRequest(TTL=max(1, round(ttl_s)))
        return self._caller.call(_GRANT, request).ID

    def keep_alive(self, lease: int) -> float:
        """Give a lease its whole time again; answers how many seconds that is.

        Raises:
            NotFound: it has ended.
        """
        answer = self._caller.call(_KEEP_ALIVE, pb.LeaseKeepAliveRequest(ID=lease))
        return _left(lease, answer.TTL, 1)

    def time_to_live(self, lease: int) -> float:
        """How many seconds a lease has left.

        Raises:
            NotFound: it has ended.
        """
        answer = self._caller.call(_TIME_TO_LIVE, pb.LeaseTimeToLiveRequest(ID=lease))
        return _left(lease, answer.TTL, 0)

    def revoke(self, lease: int) -> None:
        """End a lease, and with it its keys; fine when it has ended already."""
        try:
            self._caller.call(_REVOKE, pb.LeaseRevokeRequest(ID=lease))
        except NotFound:
            return

    def watch(self, prefix: str, after: int) -> EtcdWatch:
        """Changes after this revision of all keys that begin with this."""
        return EtcdWatch(self._caller, prefix, after)

    def close(self) -> None:
        """End everything, watches too."""
        self._caller.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _left(lease: int, ttl_s: int, least_s: int) -> float:
    if ttl_s < least_s:
        raise NotFound(f"etcd's lease {lease:x} has ended", "grant another one")
    return float(ttl_s)


def _compare(condition: Condition) -> pb.Compare:
    key = to_bytes(condition.key)
    match condition:
        case Absent():
            return pb.Compare(key=key, target=pb.Compare.VERSION, version=0)
        case Unchanged():
            return pb.Compare(key=key, target=pb.Compare.MOD, mod_revision=condition.revision)


def _act(act: Act) -> pb.RequestOp:
    key = to_bytes(act.key)
    match act:
        case Get():
            return pb.RequestOp(request_range=pb.RangeRequest(key=key))
        case Put():
            put = pb.PutRequest(key=key, value=act.value, lease=act.lease)
            return pb.RequestOp(request_put=put)
        case Delete():
            delete = pb.DeleteRangeRequest(key=key, prev_kv=True)
            return pb.RequestOp(request_delete_range=delete)

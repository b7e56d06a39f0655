"""A watch of etcd's that outlives its connection: no change lost, none told twice.

A thread reads the stream. When that breaks, another member is asked for everything after the last
revision that has come; a revision's changes always come together. Only when etcd no longer keeps
those changes, or is not the same etcd any more, does the watch end, and the caller lists again.
"""

import threading
from collections import deque
from collections.abc import Iterable, Sequence
from time import monotonic
from typing import Self

from korat.core.errors import KoratError, NotFound, Unavailable
from korat.drivers.etcd import etcd_pb2 as pb
from korat.drivers.etcd.call import Caller, Metadata, Method, serialize
from korat.drivers.etcd.connection import Connection
from korat.drivers.etcd.decode import change_of
from korat.drivers.etcd.error import Failure, Said, compacted, judge
from korat.drivers.etcd.quiet import grpc
from korat.drivers.etcd.value import Change, end_of, to_bytes

#: How many changes wait for the caller before the thread stops reading; etcd then keeps them.
WAITING_MAX = 10_000

_RANGE = Method("read the revision", "/etcdserverpb.KV/Range", pb.RangeResponse.FromString)
_PAUSE_S = (0.05, 2.0)
_LIST_AGAIN = "list again and watch from the list's revision"


class EtcdWatch:
    """Changes of the keys below a prefix, in the order of revisions."""

    def __init__(self, caller: Caller, prefix: str, after: int) -> None:
        self._caller = caller
        self._prefix = prefix
        self._key = to_bytes(prefix)
        #: All changes up to here have come; only the thread writes it.
        self._after = after
        self._cluster = 0
        self._changes: deque[Change] = deque()
        self._woken = threading.Condition()
        self._closed = threading.Event()
        self._end: KoratError | None = None
        #: Since when there has been no stream, and why.
        self._since: float | None = monotonic()
        self._why = "not connected yet"
        self._stream: grpc.Call | None = None
        self._thread = threading.Thread(target=self._run, name="etcd watch", daemon=True)
        self._thread.start()

    def poll(self, timeout_s: float) -> Sequence[Change]:
        """Wait for changes up to ``timeout_s``; empty when there were none.

        Raises:
            Compacted: the changes are no longer kept; list again and watch from there.
            NotFound: this is another etcd than before; list again and watch from there.
            Unavailable: no member has answered for a call's whole time; the watch goes on trying.
        """
        deadline = monotonic() + timeout_s
        with self._woken:
            while not self._changes and self._end is None and not self._closed.is_set():
                left_s = deadline - monotonic()
                if left_s <= 0:
                    break
                self._woken.wait(left_s)
            if self._closed.is_set():
                return ()
            if self._changes:
                changes = tuple(self._changes)
                self._changes.clear()
                self._woken.notify_all()
                return changes
            if self._end is not None:
                raise self._end
            self._complain()
        return ()

    def close(self) -> None:
        """Stop; wakes a ``poll`` in another thread. Closing twice is fine."""
        self._closed.set()
        with self._woken:
            self._woken.notify_all()
        self._cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _complain(self) -> None:
        if self._since is None:
            return
        silent_s = monotonic() - self._since
        if silent_s >= self._caller.settings.timeout_s:
            said = f"etcd: watch {self._prefix}: interrupted for {silent_s:.0f} s: {self._why}"
            raise Unavailable(said, "the watch goes on trying")

    def _run(self) -> None:
        try:
            self._run_until_closed()
        finally:
            # Whatever happened here, nobody may wait for changes that nobody reads.
            self._ended(Unavailable(f"etcd: watch {self._prefix}: it has ended"))

    def _run_until_closed(self) -> None:
        shortest_s, longest_s = _PAUSE_S
        pause_s = shortest_s
        while not (self._closed.is_set() or self._caller.closed):
            before = self._after
            try:
                self._follow()
            except NotFound as error:
                self._ended(error)
                return
            except KoratError as error:
                self._interrupted(str(error))
            self._closed.wait(pause_s)
            pause_s = shortest_s if self._after > before else min(pause_s * 2, longest_s)

    def _follow(self) -> None:
        """Read one stream until it breaks."""
        deadline = monotonic() + self._caller.settings.timeout_s
        with self._caller.use(deadline) as connection:
            try:
                metadata = self._caller.metadata(connection, deadline)
                for answer in self._open(connection, metadata):
                    if answer.canceled:
                        raise self._canceled(answer)
                    self._take(answer)
                self._interrupted("the member ended the stream")
            except grpc.RpcError as error:
                if not self._closed.is_set():
                    said = Said(error)
                    self._interrupted(str(said))
                    if judge(said) is not Failure.REFUSED:
                        self._caller.failed(connection, said)
            finally:
                self._cancel()

    def _open(self, connection: Connection, metadata: Metadata) -> Iterable[pb.WatchResponse]:
        create = pb.WatchCreateRequest(
            # All keys begin with nothing, and no key is nothing.
            key=self._key or b"\0",
            range_end=end_of(self._key),
            start_revision=self._after + 1,
            progress_notify=True,
            prev_kv=True,
        )
        watch = connection.channel.stream_stream(
            "/etcdserverpb.Watch/Watch",
            request_serializer=serialize,
            response_deserializer=pb.WatchResponse.FromString,
        )
        stream = watch(iter((pb.WatchRequest(create_request=create),)), metadata=metadata)
        with self._woken:
            self._stream = stream
            if self._closed.is_set():
                stream.cancel()
        return stream

    def _cancel(self) -> None:
        with self._woken:
            stream, self._stream = self._stream, None
        if stream is not None:
            stream.cancel()

    def _canceled(self, answer: pb.WatchResponse) -> KoratError:
        what = f"watch {self._prefix} after revision {self._after}"
        if answer.compact_revision:
            return compacted(what, answer.compact_revision)
        # A token that has expired and a user who may not look the same here.
        self._caller.forget_token()
        return Unavailable(f"etcd: {what}: {answer.cancel_reason or 'etcd refuses it'}")

    def _take(self, answer: pb.WatchResponse) -> None:
        if answer.created:
            self._check(answer.header)
        new = [change_of(event) for event in answer.events if event.kv.mod_revision > self._after]
        if new:
            self._after = new[-1].revision
        elif not answer.created:
            # Nothing has changed here up to this revision, so nothing has to be asked for again.
            self._after = max(self._after, answer.header.revision)
        with self._woken:
            self._since = None
            self._changes.extend(new)
            self._woken.notify_all()
            while len(self._changes) > WAITING_MAX and not self._closed.is_set():
                self._woken.wait()

    def _check(self, header: pb.ResponseHeader) -> None:
        """A new stream must be of the etcd that the caller listed.

        Raises:
            NotFound: it is not.
        """
        if self._cluster not in (0, header.cluster_id):
            raise NotFound("etcd is another cluster than before", _LIST_AGAIN)
        self._cluster = header.cluster_id
        if header.revision >= self._after:
            return
        # The member may be behind the others, so all of them are asked.
        request = pb.RangeRequest(key=self._key or b"\0", limit=1, keys_only=True)
        head = self._caller.call(_RANGE, request).header.revision
        if head < self._after:
            said = f"etcd is at revision {head} and never had revision {self._after}"
            raise NotFound(said, _LIST_AGAIN)

    def _interrupted(self, why: str) -> None:
        with self._woken:
            self._why = why
            if self._since is None:
                self._since = monotonic()

    def _ended(self, error: KoratError) -> None:
        with self._woken:
            if self._end is None:
                self._end = error
            self._woken.notify_all()

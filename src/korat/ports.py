"""What korat's programs need from the world, as Protocols of at most five methods.

Drivers implement them; fakes in ``tests`` or beside the driver do too. A port that wants a sixth
method is two ports.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

from korat.core.model.key import Key, Selection
from korat.core.model.record import Record, Snapshot
from korat.core.route.effective import EffectiveRoute
from korat.core.route.flannel.choice import Pair
from korat.core.route.flannel.lease import Held, Holder, Lease
from korat.core.route.flannel.network import FlannelNetwork
from korat.core.route.network import Network
from korat.core.route.step import Step

__all__ = [
    "CloudNetwork",
    "Event",
    "LeaseWatch",
    "Record",
    "Snapshot",
    "Store",
    "SubnetLeases",
    "Watch",
]


@dataclass(frozen=True, slots=True)
class Event:
    """One change: ``record`` is the new state, or None when the key was deleted."""

    key: Key
    record: Record | None
    revision: int


class Watch(Protocol):
    """A stream of changes after some revision, in revision order, none missed, none twice."""

    def poll(self, timeout_s: float) -> Sequence[Event]:
        """Wait for changes up to ``timeout_s``; empty when there were none.

        Raises:
            NotFound: the revision is too old to resume from; list again and watch from there.
        """

    def close(self) -> None:
        """Stop; wakes a ``poll`` in another thread. Closing twice is fine."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class Store(Protocol):
    """The datastore. Calico's client contract: every update is a compare-and-swap."""

    def list(self, wanted: Iterable[Selection] = ()) -> Snapshot:
        """What these name, each once, or everything, at one revision, in the order of keys.

        A kind names all of its objects, a key one if it is there, a branch those below it; keys
        and branches cost what they find, however much else is stored.
        """

    def watch(self, after: int) -> Watch:
        """Changes after this revision, of every kind."""

    def create(self, key: Key, value: bytes) -> Record:
        """Write a new object.

        Raises:
            Conflict: it exists already.
        """

    def update(self, key: Key, value: bytes, revision: int) -> Record:
        """Replace an object that still has this revision.

        Raises:
            NotFound: it is gone.
            Conflict: it has another revision now.
        """

    def delete(self, key: Key, revision: int | None = None) -> Record | None:
        """Remove an object and return it, or None when it was not there.

        Raises:
            Conflict: a revision was given and it has another one now.
        """


class CloudNetwork(Protocol):
    """An Azure virtual network and the cluster's route table in it."""

    def read(self) -> Network:
        """The whole actual state.

        Raises:
            NotFound: there is no such virtual network.
            Unavailable: Azure refuses or does not answer now.
        """

    def apply(self, steps: Sequence[Step]) -> None:
        """Carry out the steps of a plan, in order; doing a step twice is harmless.

        Raises:
            Conflict: what a step builds on has changed; read and plan again.
            Invalid: Azure refuses a step for what it says.
            Unavailable: Azure refuses or does not answer now; earlier steps are done.
        """

    def effective_routes(self, interface_id: str) -> tuple[EffectiveRoute, ...]:
        """By which routes Azure carries what this NIC sends.

        Raises:
            Invalid: no running VM has the NIC, so Azure cannot tell.
            Unavailable: Azure refuses or does not answer now.
        """


class LeaseWatch(Protocol):
    """flannel's leases, followed: each answer is all of them, so that none can be missed."""

    def poll(self, timeout_s: float) -> Sequence[Lease] | None:
        """All leases, as soon as they differ from the last answer; the first one comes at once.

        None when nothing has changed for so long. What cannot be read is left out.

        Raises:
            Unavailable: they cannot be read now; the next call tries again.
        """

    def close(self) -> None:
        """Stop; wakes a ``poll`` in another thread. Closing twice is fine."""


class SubnetLeases(Protocol):
    """Where flannel keeps its configuration and the leases of the nodes' subnets."""

    def network(self) -> FlannelNetwork:
        """The configuration.

        Raises:
            NotFound: there is none yet.
            Invalid: it is wrong, or refused.
            Unavailable: it cannot be read now.
        """

    def acquire(self, holder: Holder, previous: Pair | None) -> Held:
        """This node's lease: the one that it has, or had, or another; written as ``holder`` says.

        Raises:
            Unavailable: there is no free subnet, or it cannot be written now.
        """

    def renew(self, lease: Lease) -> Held:
        """Write the lease for its whole time again, with what it says now.

        Raises:
            NotFound: somebody has deleted it.
            Unavailable: it cannot be written now.
        """

    def watch(self) -> LeaseWatch:
        """Follow all leases."""

    def close(self) -> None:
        """Let go of the connection; the lease stays."""

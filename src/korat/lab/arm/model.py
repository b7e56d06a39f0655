"""The state behind the lab's ARM: resources as JSON, found by id, with change notification.

A resource is stored as its owner wrote it. Children (routes, subnets) live only inside their parent
and reverse links (a table's subnets, a subnet's NICs) are computed when a resource is shown, so
nothing can disagree. Rules of each kind are in ``lab.arm.resource``; HTTP is in ``lab.arm.app``.

Bodies stay ``dict``s, because ARM keeps fields that this double does not know.
"""

import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from korat.lab.arm.error import ArmError, not_found
from korat.lab.arm.path import Target, parse_id

Json = dict[str, Any]

COLLECTIONS = ("virtualNetworks", "routeTables", "networkInterfaces")


class Model:
    """One subscription with its resource groups; safe to use from several threads.

    Hold ``lock`` over a read that spans several calls. Listeners are called after each change,
    in the thread that made it, without the lock.
    """

    def __init__(
        self,
        subscription: str,
        groups: Mapping[str, str],
        *,
        route_limit: int = 400,
        kept: range = range(0),
    ) -> None:
        """Start empty; ``groups`` maps a resource group's name to its location.

        ``kept`` are IPv4 addresses, as numbers, that nobody gets who does not ask for them by name.
        """
        self.subscription = subscription
        self.route_limit = route_limit
        self.kept = kept
        self.lock = threading.RLock()
        self._groups = {name.lower(): location for name, location in groups.items()}
        self._stored: dict[str, dict[str, Json]] = {kind: {} for kind in COLLECTIONS}
        self._listeners: list[Callable[[], None]] = []
        self._made = 0

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` after every change."""
        self._listeners.append(listener)

    def changed(self) -> None:
        """Tell the listeners; whoever wrote calls it once, after letting go of the lock."""
        for listener in tuple(self._listeners):
            listener()

    def check_scope(self, target: Target) -> None:
        """Refuse a subscription or group that is not there.

        Raises:
            ArmError: SubscriptionNotFound or ResourceGroupNotFound.
        """
        if target.subscription.lower() != self.subscription.lower():
            message = f"The subscription '{target.subscription}' could not be found."
            raise ArmError(404, "SubscriptionNotFound", message)
        if target.group and target.group.lower() not in self._groups:
            message = f"Resource group '{target.group}' could not be found."
            raise ArmError(404, "ResourceGroupNotFound", message)

    def location(self, group: str) -> str:
        """The location of a resource group."""
        return self._groups[group.lower()]

    def lookup(self, target: Target) -> Json | None:
        """The stored top-level resource that ``target`` names or lies in."""
        return self._stored[target.kind].get(target.parent_id.lower())

    def find(self, target: Target) -> Json:
        """Like ``lookup``.

        Raises:
            ArmError: ResourceNotFound.
        """
        stored = self.lookup(target)
        if stored is None:
            raise not_found(target.kind, target.name, target.group)
        return stored

    def all(self, kind: str, group: str = "") -> Iterator[Json]:
        """All stored resources of a kind, by id, in one group or in all of them."""
        for key, stored in sorted(self._stored[kind].items()):
            if not group or parse_id(key).group == group.lower():
                yield stored

    def store(self, target: Target, location: str, tags: Json, properties: Json) -> Json:
        """Write a top-level resource; its id and name keep the spelling of its creation."""
        old = self.lookup(target)
        guid = old["properties"]["resourceGuid"] if old else str(uuid.uuid4())
        stored: Json = {
            "id": old["id"] if old else target.parent_id,
            "name": old["name"] if old else target.name,
            "type": f"Microsoft.Network/{target.kind}",
            "location": location,
            "tags": tags,
            "properties": {**properties, "resourceGuid": guid},
        }
        self._stored[target.kind][target.parent_id.lower()] = stored
        self.touch(stored)
        return stored

    def remove(self, target: Target) -> None:
        """Forget a top-level resource."""
        self._stored[target.kind].pop(target.parent_id.lower(), None)

    def touch(self, stored: Json) -> None:
        """Give a resource a new etag; its children share it."""
        stored["etag"] = f'W/"{uuid.uuid4()}"'

    def next_mac(self) -> str:
        """A MAC address for a new NIC, as ARM writes it, in Azure's range."""
        self._made += 1
        return "00-0D-3A-" + "-".join(f"{b:02X}" for b in self._made.to_bytes(3, "big"))


def child_of(stored: Json, child_kind: str, name: str) -> Json | None:
    """The child of that name, whatever the case."""
    children: list[Json] = stored["properties"].get(child_kind, [])
    return next((child for child in children if child["name"].lower() == name.lower()), None)

"""Every kind that the lab's ARM serves, as one table: how it is found, shown, written, removed."""

from collections.abc import Callable
from dataclasses import dataclass

from korat.lab.arm.error import ArmError, child_not_found
from korat.lab.arm.model import Json, Model, child_of
from korat.lab.arm.path import Target
from korat.lab.arm.resource import interface, route_table, virtual_network

Show = Callable[[Model, Json], Json]
ShowChild = Callable[[Model, Json, Json], Json]
Write = Callable[[Model, Target, Json], None]
Remove = Callable[[Model, Target], None]


@dataclass(frozen=True, slots=True)
class Kind:
    """One top-level kind, or one kind of child when ``show_child`` is there."""

    show: Show
    put: Write
    delete: Remove
    show_child: ShowChild | None = None


_TABLE = Kind(route_table.show, route_table.put, route_table.delete)
_NETWORK = Kind(virtual_network.show, virtual_network.put, virtual_network.delete)
_INTERFACE = Kind(lambda _, stored: interface.show(stored), interface.put, interface.delete)

KINDS = {
    ("virtualNetworks", ""): _NETWORK,
    ("virtualNetworks", "subnets"): Kind(
        virtual_network.show,
        virtual_network.put_subnet,
        virtual_network.delete_subnet,
        virtual_network.show_subnet,
    ),
    ("routeTables", ""): _TABLE,
    ("routeTables", "routes"): Kind(
        route_table.show,
        route_table.put_route,
        route_table.delete_route,
        lambda _, stored, route: route_table.show_route(stored, route),
    ),
    ("networkInterfaces", ""): _INTERFACE,
}


def kind_of(target: Target) -> Kind:
    """The row of the table for a target.

    Raises:
        ArmError: the lab's ARM does not serve it.
    """
    kind = KINDS.get((target.kind, target.child_kind))
    if kind is None:
        message = f"The lab's ARM does not serve {target.kind}/{target.child_kind}."
        raise ArmError(404, "InvalidResourceType", message)
    return kind


def read(model: Model, target: Target) -> Json:
    """One resource as ARM answers it.

    Raises:
        ArmError: it, or its parent, is not there.
    """
    kind, stored = kind_of(target), model.find(target)
    if kind.show_child is None:
        return kind.show(model, stored)
    child = child_of(stored, target.child_kind, target.child)
    if child is None:
        raise child_not_found(target.id)
    return kind.show_child(model, stored, child)


def read_all(model: Model, target: Target) -> Json:
    """A collection as ARM answers it: all of a group, of the subscription, or of a parent."""
    kind = kind_of(target)
    if kind.show_child is None:
        return {
            "value": [kind.show(model, stored) for stored in model.all(target.kind, target.group)]
        }
    stored = model.find(target)
    children = stored["properties"][target.child_kind]
    return {"value": [kind.show_child(model, stored, child) for child in children]}

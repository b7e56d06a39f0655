"""ARM's URLs: which resource, collection, action or operation a path names.

ARM ignores the case of everything in a path. Kinds come out in their canonical spelling; names as
the caller wrote them, because a resource keeps the spelling of its creation.
"""

from dataclasses import dataclass

from korat.lab.arm.error import ArmError

PROVIDER = "Microsoft.Network"

_KINDS = {
    kind.lower(): kind
    for kind in (
        *("virtualNetworks", "routeTables", "networkInterfaces", "locations"),
        *("subnets", "routes", "effectiveRouteTable", "operations", "operationResults"),
    )
}


@dataclass(frozen=True, slots=True)
class Target:
    """What a path names; empty strings stand for the parts it does not have.

    ``/…/routeTables`` has only ``kind``, ``/…/routeTables/t/routes`` has no ``child``; an action
    such as ``effectiveRouteTable`` stands in ``child_kind``.
    """

    subscription: str
    group: str
    kind: str
    name: str = ""
    child_kind: str = ""
    child: str = ""

    @property
    def parent_id(self) -> str:
        """The id of the top-level resource."""
        root = f"/subscriptions/{self.subscription}/resourceGroups/{self.group}"
        return f"{root}/providers/{PROVIDER}/{self.kind}/{self.name}"

    @property
    def id(self) -> str:
        """The id of the resource itself."""
        return f"{self.parent_id}/{self.child_kind}/{self.child}" if self.child else self.parent_id


def parse(path: str) -> Target:
    """Read the path of a request to the network provider.

    Raises:
        ArmError: the path names nothing of the network provider.
    """
    match path.strip("/").split("/"):
        case [sub, subscription, groups, group, providers, provider, kind, *rest] if (
            _is(sub, "subscriptions")
            and _is(groups, "resourceGroups")
            and _is(providers, "providers")
            and _is(provider, PROVIDER)
        ):
            return _target(subscription, group, [kind, *rest])
        case [sub, subscription, providers, provider, kind, *rest] if (
            _is(sub, "subscriptions") and _is(providers, "providers") and _is(provider, PROVIDER)
        ):
            return _target(subscription, "", [kind, *rest])
        case _:
            raise _unknown(path)


def parse_id(resource_id: str) -> Target:
    """Read a resource id from a body; the id of no resource is refused as ARM does.

    Raises:
        ArmError: it is not the id of a network resource.
    """
    try:
        target = parse(resource_id)
    except ArmError:
        target = None
    if target is None or not target.name:
        raise ArmError(400, "LinkedInvalidPropertyId", f"'{resource_id}' is not a resource id.")
    return target


def _target(subscription: str, group: str, parts: list[str]) -> Target:
    if len(parts) > 4:  # noqa: PLR2004  kind, name, child kind, child
        raise _unknown("/".join(parts))
    kind, name, child_kind, child = (*parts, "", "", "")[:4]
    return Target(subscription, group, _canonical(kind), name, _canonical(child_kind), child)


def _canonical(kind: str) -> str:
    if not kind:
        return ""
    if kind.lower() not in _KINDS:
        raise _unknown(kind)
    return _KINDS[kind.lower()]


def _is(segment: str, expected: str) -> bool:
    return segment.lower() == expected.lower()


def _unknown(path: str) -> ArmError:
    return ArmError(404, "InvalidResourceType", f"The lab's ARM does not know '{path}'.")

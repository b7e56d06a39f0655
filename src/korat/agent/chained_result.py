"""What the plugins before ``korat-policy`` say they made: the result that CNI hands on.

Plugins are of different minds about it: some list both ends of the link, some the pod's alone or
with no namespace, some nothing but addresses.
Source: CNI specification 0.3.0 to 1.1.0, "Success"; azure-vnet's results, which are 0.3.0.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from korat.agent.workload_request import Request
from korat.core.errors import Invalid, Problem
from korat.core.net.address import Addr


def previous(request: Request) -> dict[str, Any]:
    """The result of the plugins before this one.

    Raises:
        Invalid: there is none.
    """
    found = request.config.prev_result
    if found is None:
        rule = "is missing: this plugin adds policy to what the plugin before it in the list made"
        raise Invalid([Problem("CNI request", "prevResult", None, rule)])
    return found


def same_result(request: Request) -> dict[str, Any]:
    """The earlier result as this plugin prints it: nothing is different."""
    return {**previous(request), "cniVersion": request.config.cni_version}


def pod_addresses(request: Request) -> tuple[Addr, ...]:
    """The addresses of the pod's interface, in their order.

    Raises:
        Invalid: there is none, or something that is no address.
    """
    listed = _interfaces(request)
    found: dict[Addr, None] = {}
    for ip in _objects(previous(request).get("ips")):
        if not _is_pods(ip.get("interface"), listed, request):
            continue
        text = str(ip.get("address"))
        try:
            found[Addr.parse_interface(text)] = None
        except ValueError as error:
            rule = "is not an IP address with its prefix length"
            raise Invalid([Problem("CNI request", "prevResult.ips", text, rule)]) from error
    if not found:
        rule = f"has no address of {request.owner.ifname}"
        raise Invalid([Problem("CNI request", "prevResult.ips", None, rule)])
    return tuple(found)


def host_interfaces(request: Request, prefixes: tuple[str, ...]) -> tuple[str, ...]:
    """The node's interfaces that begin as workloads' do, in their order; often there are none."""
    names = (str(each.get("name", "")) for each in _interfaces(request) if not each.get("sandbox"))
    return tuple(
        name for name in names if name.startswith(prefixes) and name != request.owner.ifname
    )


def _interfaces(request: Request) -> list[Mapping[str, Any]]:
    return _objects(previous(request).get("interfaces"))


def _objects(value: object) -> list[Mapping[str, Any]]:
    """A list's objects; anything else is as nothing, but keeps its place."""
    items: Iterable[object] = value if isinstance(value, list) else ()
    return [item if isinstance(item, dict) else {} for item in items]


def _is_pods(place: object, listed: list[Mapping[str, Any]], request: Request) -> bool:
    """Whether an address is on the pod's interface: it says so, or does not say where it is."""
    if not isinstance(place, int) or not 0 <= place < len(listed):
        return True
    where = listed[place]
    return where.get("name") == request.owner.ifname and where.get("sandbox") in (
        None,
        "",
        request.env.netns,
    )

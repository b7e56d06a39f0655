"""Whatever a client sends, the lab's ARM answers with a resource or an error, and stays whole."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from azure_site import LOCATION, NETWORK_ID, SUBNET_ID, furnished
from korat.lab.arm.exchange import Arm, Request
from korat.lab.arm.view import network_view

TABLE_ID = f"{NETWORK_ID}/routeTables/rt"
VNETS_ID = f"{NETWORK_ID}/virtualNetworks"
NICS_ID = f"{NETWORK_ID}/networkInterfaces"

_texts = st.sampled_from(
    (
        *("10.10.0.0/16", "10.10.0.0/24", "10.10.1.0/24", "10.10.1.0/30", "0.0.0.0/0", "fd00::/64"),
        *("10.10.0.9", "10.10.0.255", "fd00::9", "a", "", "Static", "IPv6", "VirtualAppliance"),
        *("None", LOCATION, TABLE_ID, SUBNET_ID, f"{SUBNET_ID}/x"),
    )
)
_odd = st.none() | st.booleans() | st.integers(-1, 3) | _texts | st.lists(_texts, max_size=2)


def _mostly(value: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.integers(0, 11).flatmap(lambda dice: _odd if dice == 0 else value)


def _object(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries({key: _mostly(value) for key, value in fields.items()})


def _of(*values: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(values)


def _named(properties: st.SearchStrategy[Any], *names: str) -> st.SearchStrategy[Any]:
    return st.lists(_mostly(_object(name=_of(*names), properties=properties)), max_size=3)


_route = _object(
    addressPrefix=_of("10.10.128.0/24", "10.10.129.0/24", "0.0.0.0/0", "fd00::/64"),
    nextHopType=_of("VirtualAppliance", "VirtualAppliance", "None"),
    nextHopIpAddress=_of("10.10.0.4", "10.10.0.5", None),
)
_subnet = _object(
    addressPrefix=_of("10.10.0.0/24", "10.10.1.0/24", "10.10.0.0/25"),
    addressPrefixes=_of(None, None, ["10.10.2.0/24", "fd00::/64"]),
    routeTable=st.none() | _object(id=_of(TABLE_ID, TABLE_ID.upper())),
)
_network = _object(
    addressSpace=_object(addressPrefixes=_of(["10.10.0.0/16"], ["10.10.0.0/16", "fd00::/48"])),
    subnets=_named(_subnet, "nodes", "more", "other"),
)
_configuration = _object(
    privateIPAddress=_of("10.10.0.4", "10.10.0.9", "10.10.1.4", None),
    privateIPAllocationMethod=_of("Static", "Dynamic", None),
    privateIPAddressVersion=_of("IPv4", "IPv4", "IPv6"),
    primary=st.booleans(),
    subnet=_object(id=_of(SUBNET_ID, SUBNET_ID, f"{VNETS_ID}/vnet2/subnets/nodes")),
)
_interface = _object(
    enableIPForwarding=st.booleans(), ipConfigurations=_named(_configuration, "a", "b")
)

SHAPES = {
    TABLE_ID: _object(routes=_named(_route, "r1", "r2", "R1")),
    f"{TABLE_ID}/routes/r1": _route,
    f"{TABLE_ID}/routes/R2": _route,
    f"{VNETS_ID}/vnet": _network,
    f"{VNETS_ID}/vnet2": _network,
    SUBNET_ID: _subnet,
    f"{VNETS_ID}/vnet2/subnets/more": _subnet,
    f"{NICS_ID}/vm1-nic": _interface,
    f"{NICS_ID}/vm9-nic": _interface,
}

_METHODS = ("PUT", "PUT", "PUT", "PUT", "PATCH", "DELETE", "GET")


@st.composite
def _requests(draw: st.DrawFn) -> tuple[str, str, Any]:
    path = draw(_of(*SHAPES))
    body = _object(location=st.just(LOCATION), tags=st.just({"a": "b"}), properties=SHAPES[path])
    match draw(st.integers(0, 11)):
        case 0:
            return "POST", f"{NICS_ID}/vm1-nic/effectiveRouteTable", None
        case 1:
            return draw(_of(*_METHODS)), path, None
        case _:
            return draw(_of(*_METHODS)), path, draw(body)


@given(st.lists(_requests(), min_size=1, max_size=8))
def test_every_request_is_answered_and_a_refused_one_changes_nothing(
    requests: list[tuple[str, str, dict[str, Any] | None]],
):
    arm = Arm(furnished(1), "token")
    table, network = {"location": LOCATION}, {"addressSpace": {"addressPrefixes": ["10.10.0.0/16"]}}
    assert _ask(arm, "PUT", TABLE_ID, table).status == 201
    assert _ask(arm, "PUT", f"{VNETS_ID}/vnet2", {**table, "properties": network}).status == 201
    for method, path, body in requests:
        before = _state(arm)
        answer = _ask(arm, method, path, body)
        assert answer.status in (200, 201, 202, 204, 400, 404)
        if answer.status >= 400:
            assert answer.body is not None
            assert answer.body["error"]["message"]
            assert _state(arm) == before, "a refused request changes nothing"
    network_view(arm.model)


def _state(arm: Arm) -> list[Any]:
    kinds = ("virtualNetworks", "routeTables", "networkInterfaces")
    answers = [_ask(arm, "GET", f"{NETWORK_ID}/{kind}", None) for kind in kinds]
    assert [answer.status for answer in answers] == [200] * 3
    return [answer.body for answer in answers]


def _ask(arm: Arm, method: str, path: str, body: dict[str, Any] | None):
    headers = {"authorization": "Bearer token"}
    query = {"api-version": "2026-03-01"}
    return arm.answer(Request(method, path, query, headers, "https://x", body))

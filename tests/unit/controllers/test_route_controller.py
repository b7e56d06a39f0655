"""The route controller against the lab's ARM: from nothing to the plan, and back after drift."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from typing_extensions import override

from azure_site import GROUP, LOCATION, Site, nic_body, put_node, target
from korat.controllers.loop import EFFECT_POLL_S, RouteController
from korat.controllers.route import apply_once, not_effective, plan_once
from korat.controllers.settings import RouteSettings
from korat.core.errors import Conflict, Invalid, Unavailable
from korat.core.net.address import Prefix
from korat.core.route.effective import EffectiveRoute
from korat.core.route.network import Network
from korat.core.route.podcidr import UdrSettings
from korat.core.route.step import Step
from korat.drivers.azure.network import AzureNetwork
from korat.drivers.store.memory import MemoryStore
from korat.lab.arm.fault import Faults
from korat.lab.arm.resource import interface, route_table, virtual_network
from korat.ports import CloudNetwork, Store

WAIT_S = 10.0
TABLE = target("routeTables", "korat-routes")
NODES = replace(target("virtualNetworks", "vnet"), child_kind="subnets", child="nodes")


@pytest.fixture
def store() -> MemoryStore:
    """Three nodes with a pod CIDR each."""
    made = MemoryStore()
    for number in (1, 2, 3):
        put_node(made, f"vm{number}", f"10.10.0.{number + 3}", f"10.10.{127 + number}.0/24")
    return made


@pytest.fixture
def cloud(site: Site) -> AzureNetwork:
    return AzureNetwork(site.client, site.config)


@pytest.fixture
def settings(site: Site, tmp_path: Path) -> RouteSettings:
    udr = UdrSettings(site.config.table_id, "", (Prefix.parse("10.10.128.0/17"),))
    return RouteSettings(site.config, udr, period_s=30.0, ready_file=tmp_path / "ready")


class Slow(CloudNetwork):
    """An Azure whose routes take some looks to work, or which cannot be asked, or is overtaken."""

    def __init__(self, cloud: CloudNetwork) -> None:
        self.cloud = cloud
        self.looks_left = 0
        self.error: Exception | None = None
        self.reads = 0

    @override
    def read(self) -> Network:
        self.reads += 1
        if self.error is not None:
            raise self.error
        return self.cloud.read()

    @override
    def apply(self, steps: Sequence[Step]) -> None:
        self.cloud.apply(steps)

    @override
    def effective_routes(self, interface_id: str) -> tuple[EffectiveRoute, ...]:
        self.looks_left -= 1
        return () if self.looks_left >= 0 else self.cloud.effective_routes(interface_id)


def routes(site: Site) -> dict[str, tuple[str, str]]:
    properties = (
        (r["name"], r["properties"]) for r in site.model.find(TABLE)["properties"]["routes"]
    )
    return {n: (p["addressPrefix"], p.get("nextHopIpAddress", "")) for n, p in properties}


WANTED = {f"vm{n}": (f"10.10.{127 + n}.0/24", f"10.10.0.{n + 3}") for n in (1, 2, 3)}


def test_from_nothing_to_the_planned_state_and_then_nothing_more(
    site: Site, store: MemoryStore, cloud: AzureNetwork, settings: RouteSettings
):
    planned = plan_once(store, cloud, settings.udr)
    assert len(planned.steps) == 8
    assert site.writes() == []
    assert apply_once(store, cloud, settings.udr) == planned
    assert routes(site) == WANTED
    network = cloud.read()
    assert all(nic.ip_forwarding for nic in network.interfaces)
    assert network.subnets[0].table_id == settings.udr.table_id
    assert not_effective(cloud, planned) == ()
    site.server.arm.journal.clear()
    assert apply_once(store, cloud, settings.udr).empty
    assert site.writes() == []
    assert len(site.server.arm.journal) == 3, "VNet, table and one list of NICs"


def test_by_hand_it_is_all_or_nothing_but_the_loop_helps_the_good_nodes(
    site: Site, store: MemoryStore, cloud: AzureNetwork, settings: RouteSettings
):
    put_node(store, "vm3", "10.10.0.6", "10.10.0.0/24")
    with pytest.raises(Invalid) as refused:
        apply_once(store, cloud, settings.udr)
    assert "overlaps subnet nodes (10.10.0.0/24)" in str(refused.value)
    assert str(refused.value).endswith("; nothing was changed")
    assert site.writes() == []
    RouteController(store, cloud, settings).turn()
    assert sorted(routes(site)) == ["vm1", "vm2"]


def _delete_route(site: Site) -> None:
    route_table.delete_route(site.model, replace(TABLE, child_kind="routes", child="vm2"))


def _delete_table(site: Site) -> None:
    _wipe_association(site)
    route_table.delete(site.model, TABLE)


def _wipe_association(site: Site) -> None:
    virtual_network.put_subnet(site.model, NODES, {"properties": {"addressPrefix": "10.10.0.0/24"}})


def _forwarding_off(site: Site) -> None:
    interface.put(site.model, target("networkInterfaces", "vm1-nic"), nic_body("10.10.0.4"))


def _put_route(site: Site, name: str, prefix: str, ip: str) -> None:
    hop = {"addressPrefix": prefix, "nextHopType": "VirtualAppliance", "nextHopIpAddress": ip}
    row = replace(TABLE, child_kind="routes", child=name)
    route_table.put_route(site.model, row, {"properties": hop})


DRIFTS: dict[str, Callable[[Site], None]] = {
    "route deleted": _delete_route,
    "table deleted": _delete_table,
    "association wiped": _wipe_association,
    "forwarding off": _forwarding_off,
    "wrong next hop": lambda site: _put_route(site, "vm1", "10.10.128.0/24", "10.10.0.99"),
    "stale route": lambda site: _put_route(site, "vm9", "10.10.140.0/24", "10.10.0.12"),
    "foreign route": lambda site: _put_route(site, "to-firewall", "0.0.0.0/0", "10.10.0.250"),
}


@pytest.mark.parametrize("drift", DRIFTS.values(), ids=DRIFTS)
def test_drift_is_repaired_and_foreign_routes_stay(
    site: Site,
    store: MemoryStore,
    cloud: AzureNetwork,
    settings: RouteSettings,
    drift: Callable[[Site], None],
):
    controller = RouteController(store, cloud, settings)
    assert controller.turn() == settings.period_s
    drift(site)
    foreign = {name: route for name, route in routes_or_none(site).items() if name == "to-firewall"}
    assert controller.turn() == settings.period_s
    assert routes(site) == WANTED | foreign
    network = cloud.read()
    assert all(nic.ip_forwarding for nic in network.interfaces)
    assert network.subnets[0].table_id == settings.udr.table_id


def routes_or_none(site: Site) -> dict[str, tuple[str, str]]:
    return routes(site) if site.model.lookup(TABLE) else {}


def test_ready_means_effective_and_names_the_routes(
    store: MemoryStore, cloud: AzureNetwork, settings: RouteSettings
):
    slow = Slow(cloud)
    slow.looks_left = 2
    controller = RouteController(store, slow, settings)
    ready = settings.ready_file
    assert ready is not None
    for _ in range(2):
        assert controller.turn() == EFFECT_POLL_S
        assert not ready.exists()
    assert controller.turn() == settings.period_s
    assert ready.read_text().splitlines() == [f"{p} {ip}" for p, ip in WANTED.values()]
    slow.looks_left = 1
    assert controller.turn() == settings.period_s, "what was effective is not asked again"


def test_a_node_without_an_address_is_waited_for(
    store: MemoryStore, cloud: AzureNetwork, settings: RouteSettings
):
    """A node gets its pod CIDR before its agent says where it is."""
    put_node(store, "vm3", "", "10.10.130.0/24")
    controller = RouteController(store, cloud, settings)
    assert settings.ready_file is not None
    controller.turn()
    assert not settings.ready_file.exists()
    put_node(store, "vm3", "10.10.0.6", "10.10.130.0/24")
    controller.turn()
    assert "10.10.130.0/24 10.10.0.6" in settings.ready_file.read_text()


def test_no_nodes_is_not_ready(cloud: AzureNetwork, settings: RouteSettings):
    RouteController(MemoryStore(), cloud, settings).turn()
    assert settings.ready_file is not None
    assert not settings.ready_file.exists()


def test_a_route_that_another_overrides_is_not_effective(
    site: Site, store: MemoryStore, cloud: AzureNetwork, settings: RouteSettings
):
    planned = apply_once(store, cloud, settings.udr)
    _put_route(site, "x", "10.10.128.128/25", "10.10.0.9")
    assert not_effective(cloud, planned) == (
        "subnet nodes does not send 10.10.128.0/24 to 10.10.0.4 yet",
    )


def test_a_stopped_vm_is_not_asked_but_another_is(
    site: Site, store: MemoryStore, cloud: AzureNetwork, settings: RouteSettings
):
    planned = apply_once(store, cloud, settings.udr)
    for number in (1, 2):
        nic = site.model.find(target("networkInterfaces", f"vm{number}-nic"))
        del nic["properties"]["virtualMachine"]
    assert not_effective(cloud, planned) == ()
    del site.model.find(target("networkInterfaces", "vm3-nic"))["properties"]["virtualMachine"]
    with pytest.raises(Unavailable, match="no NIC in subnet nodes can tell"):
        not_effective(cloud, planned)


def test_errors_are_retried_ever_later_and_then_forgotten(
    store: MemoryStore, cloud: AzureNetwork, settings: RouteSettings
):
    slow = Slow(cloud)
    controller = RouteController(store, slow, settings)
    slow.error = Unavailable("no")
    delays = [controller.turn() for _ in range(8)]
    assert delays == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    slow.error = Conflict("overtaken")
    assert controller.turn() == 30.0
    slow.error = None
    assert controller.turn() == settings.period_s
    slow.error = Unavailable("no")
    assert controller.turn() == 0.5


def test_a_refused_write_leaves_the_rest_for_the_next_turn(
    site: Site, store: MemoryStore, cloud: AzureNetwork, settings: RouteSettings
):
    site.server.arm.faults = Faults(fail_next=1, status=403, code="ScopeLocked", writes_only=True)
    controller = RouteController(store, cloud, settings)
    assert controller.turn() < settings.period_s
    assert controller.turn() == settings.period_s
    assert routes(site) == WANTED


@contextmanager
def running(controller: RouteController) -> Iterator[None]:
    thread = threading.Thread(target=controller.run)
    thread.start()
    try:
        yield
    finally:
        controller.stop()
        thread.join(WAIT_S)
        assert not thread.is_alive(), "stop is prompt"


def until(site: Site, fulfilled: Callable[[], bool]) -> None:
    """Wait, from one change of ARM to the next, until something is so."""
    changed = threading.Event()
    site.model.on_change(changed.set)
    while not fulfilled():
        assert changed.wait(WAIT_S), "nothing changes any more"
        changed.clear()


def test_the_loop_follows_the_nodes_at_once(
    site: Site, store: Store, cloud: AzureNetwork, settings: RouteSettings
):
    with running(RouteController(store, cloud, settings)):
        until(site, lambda: routes_or_none(site) == WANTED)
        put_node(store, "vm2", "10.10.0.5", "10.10.150.0/24")
        moved = {**WANTED, "vm2": ("10.10.150.0/24", "10.10.0.5")}
        until(site, lambda: routes(site) == moved)
        store.delete(next(r.key for r in store.list(["Node"]).records if r.key.name == "vm3"))
        del moved["vm3"]
        until(site, lambda: routes(site) == moved)


def test_the_loop_repairs_drift_after_a_period(
    site: Site, store: MemoryStore, cloud: AzureNetwork, settings: RouteSettings
):
    with running(RouteController(store, cloud, replace(settings, period_s=0.05))):
        until(site, lambda: routes_or_none(site) == WANTED)
        _delete_route(site)
        until(site, lambda: routes(site) == WANTED)


def test_the_loop_gets_over_a_watch_that_fell_behind(
    site: Site, cloud: AzureNetwork, settings: RouteSettings
):
    store = MemoryStore(log_max=1)
    with running(RouteController(store, cloud, settings)):
        for number in (1, 2, 3):
            put_node(store, f"vm{number}", f"10.10.0.{number + 3}", f"10.10.{127 + number}.0/24")
        until(site, lambda: routes_or_none(site) == WANTED)


def test_node_events_that_do_not_matter_ask_azure_nothing(
    store: MemoryStore, cloud: AzureNetwork, settings: RouteSettings
):
    slow = Slow(cloud)
    controller = RouteController(store, slow, settings)
    controller.turn()
    put_node(store, "vm2", "10.10.0.5", "10.10.129.0/24")
    assert not controller._nodes_changed()
    put_node(store, "vm2", "10.10.0.5", "10.10.130.0/24")
    assert controller._nodes_changed()


def test_the_table_is_made_where_the_network_is(
    site: Site, store: MemoryStore, cloud: AzureNetwork, settings: RouteSettings
):
    apply_once(store, cloud, settings.udr)
    assert site.client.route_tables.get(GROUP, "korat-routes").location == LOCATION

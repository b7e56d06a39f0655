"""The controller of NICs' addresses against the lab's ARM: ahead of pods, in batches, sparingly."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from azure_site import SUBNET_ID, Site, nic_body, put_node, target
from korat.controllers.address import AddressController
from korat.controllers.settings import AddressSettings
from korat.controllers.supply import demand, read_demand
from korat.core.errors import Unavailable
from korat.core.model.codec import dump
from korat.core.model.endpoint import WorkloadEndpoint, WorkloadEndpointSpec
from korat.core.model.key import Key
from korat.core.model.pod import Pod, PodSpec, PodStatus
from korat.core.model.resource import Metadata, Resource
from korat.core.net.address import Addr
from korat.core.route.supply import SupplySettings
from korat.drivers.azure.network import AzureNetwork
from korat.drivers.store.memory import MemoryStore
from korat.lab.arm.fault import Faults
from korat.lab.arm.resource import interface
from korat.ports import Record

WAIT_S = 10.0


@pytest.fixture
def store() -> MemoryStore:
    made = MemoryStore()
    for number in (1, 2, 3):
        put_node(made, f"vm{number}", f"10.10.0.{number + 3}")
    return made


@pytest.fixture
def settings(site: Site) -> AddressSettings:
    return AddressSettings(site.config, SupplySettings(batch=4, headroom=2), period_s=30.0)


@pytest.fixture
def cloud(site: Site) -> AzureNetwork:
    return AzureNetwork(site.client, site.config)


def nic(number: int):
    return target("networkInterfaces", f"vm{number}-nic")


def counts(site: Site) -> list[int]:
    """How many addresses each NIC has."""
    return [len(interface.addresses(site.model.find(nic(number)))) for number in (1, 2, 3)]


def put(store: MemoryStore, resource: Resource) -> None:
    store.create(resource.key, dump(resource))


def pod(name: str, node: str = "vm1", **status: object) -> Pod:
    return Pod(
        metadata=Metadata(name=name, namespace="shop"),
        spec=PodSpec(node_name=node),
        status=PodStatus(**status),
    )


def endpoint(name: str, address: str, node: str = "vm1") -> WorkloadEndpoint:
    spec = WorkloadEndpointSpec(
        orchestrator="k8s", node=node, pod=name, ip_networks=(f"{address}/32",)
    )
    meta = Metadata(name=f"{node}-k8s-{name}-eth0", namespace="shop")
    return WorkloadEndpoint(metadata=meta, spec=spec)


def test_every_node_has_its_headroom_and_then_nothing_is_asked(
    site: Site, store: MemoryStore, cloud: AzureNetwork, settings: AddressSettings
):
    controller = AddressController(store, cloud, settings)
    assert controller.turn() == settings.period_s
    assert counts(site) == [5, 5, 5]
    site.server.arm.journal.clear()
    assert controller.turn() == settings.period_s
    assert site.writes() == []
    assert not controller.wants_more()


def test_pods_bring_a_batch_before_there_are_none_left(
    site: Site, store: MemoryStore, cloud: AzureNetwork, settings: AddressSettings
):
    controller = AddressController(store, cloud, settings)
    controller.turn()
    controller.turn()
    for number in (1, 2):
        put(store, pod(f"p{number}"))
    assert not controller.wants_more(), "two of four are free, which is the headroom"
    site.server.arm.journal.clear()
    put(store, pod("p3"))
    assert controller.wants_more()
    assert not site.server.arm.journal, "that cost Azure nothing"
    controller.turn()
    assert counts(site) == [9, 5, 5]


def test_who_counts_as_using_an_address():
    first = replace_status(pod("a"), pod_ip="10.10.0.8")
    resources = [
        pod("waits"),
        first,
        endpoint("a", "10.10.0.8"),
        pod("b"),
        endpoint("b", "10.10.0.9"),
        endpoint("vm", "10.10.0.10"),
        replace_spec(pod("host"), host_network=True),
        pod("over", phase="Succeeded"),
        pod("elsewhere", node="vm2"),
        pod("nowhere", node=""),
    ]
    records = [Record(each.key, dump(each), 1) for each in resources]
    broken = Record(Key("Pod", "shop", "broken"), b"{", 1)
    store = MemoryStore()
    put_node(store, "vm1", "10.10.0.4")
    put_node(store, "bad", "nonsense")
    found = demand([*records, broken, *store.list(["Node"]).records])
    [node] = found.nodes
    assert node.waiting == 1
    assert node.held == {Addr.parse(f"10.10.0.{last}") for last in (8, 9, 10)}
    assert [str(problem) for problem in found.problems] == [
        "Node bad: spec.addresses 'nonsense': is not an IP address"
    ]


def replace_status(made: Pod, **status: object) -> Pod:
    return Pod(metadata=made.metadata, spec=made.spec, status=PodStatus(**status))


def replace_spec(made: Pod, **spec: object) -> Pod:
    return Pod(metadata=made.metadata, spec=PodSpec(node_name="vm1", **spec))


HOG = target("networkInterfaces", "hog")


def leave(site: Site, count: int) -> None:
    """Let the subnet have so many free addresses: somebody else has all others."""
    others = [
        {"name": f"c{number}", "properties": {"subnet": {"id": SUBNET_ID}}}
        for number in range(248 - count)
    ]
    body = nic_body()
    body["properties"]["ipConfigurations"] = others
    interface.put(site.model, HOG, body)


def test_of_a_subnet_that_is_nearly_full_what_there_is_is_taken(
    site: Site, store: MemoryStore, cloud: AzureNetwork, settings: AddressSettings
):
    leave(site, 8)
    controller = AddressController(store, cloud, settings)
    assert controller.turn() < settings.period_s, "it is not whole"
    assert counts(site) == [5, 5, 1]
    interface.delete(site.model, HOG)
    assert controller.turn() == settings.period_s
    assert counts(site) == [5, 5, 5]


def test_half_of_a_batch_is_better_than_none(
    site: Site, store: MemoryStore, cloud: AzureNetwork, settings: AddressSettings
):
    leave(site, 7)
    AddressController(store, cloud, settings).turn()
    assert counts(site) == [5, 3, 2], "four, then two of four, then one"


def test_one_nics_trouble_does_not_stop_the_others(
    site: Site, store: MemoryStore, cloud: AzureNetwork, settings: AddressSettings
):
    put_node(store, "vm0", "192.0.2.1")

    class Gone(AzureNetwork):
        def apply(self, steps):
            for step in steps:
                if "vm1-nic" in step.interface_id:
                    interface.detach(site.model, nic(1))
                    interface.delete(site.model, nic(1))
            super().apply(steps)

    controller = AddressController(store, Gone(site.client, site.config), settings)
    assert controller.turn() < settings.period_s
    assert [len(interface.addresses(site.model.find(nic(n)))) for n in (2, 3)] == [5, 5]


def test_refusals_are_retried_ever_later_and_then_forgotten(
    site: Site, store: MemoryStore, cloud: AzureNetwork, settings: AddressSettings
):
    controller = AddressController(store, cloud, settings)
    site.server.arm.faults = Faults(
        fail_next=6, status=403, code="AuthorizationFailed", writes_only=True
    )
    assert [controller.turn() for _ in range(6)] == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0]
    assert controller.turn() == settings.period_s
    assert counts(site) == [5, 5, 5]


def test_what_a_person_took_away_is_asked_for_again_only_if_it_is_missed(
    site: Site, store: MemoryStore, cloud: AzureNetwork, settings: AddressSettings
):
    controller = AddressController(store, cloud, settings)
    controller.turn()
    interface.put(site.model, nic(1), nic_body("10.10.0.4", SUBNET_ID))
    controller.turn()
    assert counts(site) == [5, 5, 5]


class Counting(AzureNetwork):
    """Counts the looks; ``fault`` is raised by them."""

    looks = 0
    fault: Exception | None = None

    def read(self):
        self.looks += 1
        if self.fault is not None:
            raise self.fault
        return super().read()


class Steered:
    """A watch and a clock in one: each poll is an event or the end of the wait."""

    def __init__(self, controller: Callable[[], AddressController], script: list[float | None]):
        self.now, self.script, self.controller = 0.0, script, controller

    def __call__(self) -> float:
        return self.now

    def poll(self, timeout_s: float):
        if timeout_s == 0.1:  # the end of a burst
            return []
        if not self.script:
            self.controller().stop()
            return []
        at = self.script.pop(0)
        if at is None or at >= self.now + timeout_s:
            self.now += timeout_s
            return []
        self.now = at
        return [type("Event", (), {"key": Key("Pod", "shop", "p")})()]

    def close(self) -> None:
        pass


def looks_of(site: Site, store: MemoryStore, settings: AddressSettings, script, fault=None):
    """How often Azure was looked at, while pods' events came at these moments."""
    cloud = Counting(site.client, site.config)
    cloud.fault = fault
    watch = Steered(lambda: controller, list(script))
    controller = AddressController(store, cloud, settings, watch)
    controller._follow(watch)
    return cloud.looks


def test_pods_that_have_what_they_need_ask_azure_nothing(
    site: Site, store: MemoryStore, settings: AddressSettings
):
    AddressController(store, AzureNetwork(site.client, site.config), settings).turn()
    assert looks_of(site, store, settings, [1.0, 2.0, 7.0, 8.0]) == 1
    assert looks_of(site, store, settings, [1.0, None]) == 2, "and once in a period"


def test_pods_that_need_more_are_helped_soon_but_not_at_each_of_them(
    site: Site, store: MemoryStore, settings: AddressSettings
):
    AddressController(store, AzureNetwork(site.client, site.config), settings).turn()
    for number in range(9):
        put(store, pod(f"p{number}"))
    assert looks_of(site, store, settings, [1.0, 1.5, 2.0, 2.5, None, 5.5, 6.0]) == 2


def test_while_azure_refuses_pods_bring_no_turn_forward(
    site: Site, store: MemoryStore, settings: AddressSettings
):
    script = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, None, 1.1, 1.2, 1.3, 1.4]
    assert looks_of(site, store, settings, script, Unavailable("no")) == 2


@contextmanager
def running(controller: AddressController) -> Iterator[None]:
    thread = threading.Thread(target=controller.run)
    thread.start()
    try:
        yield
    finally:
        controller.stop()
        thread.join(WAIT_S)
        assert not thread.is_alive(), "stop is prompt"


def test_the_loop_follows_the_pods(
    site: Site, store: MemoryStore, cloud: AzureNetwork, settings: AddressSettings, monkeypatch
):
    monkeypatch.setattr("korat.controllers.address.REST_S", 0.05)
    changed = threading.Event()
    site.model.on_change(changed.set)

    def until(wanted: list[int]) -> None:
        while counts(site) != wanted:
            assert changed.wait(WAIT_S), "nothing changes any more"
            changed.clear()

    with running(AddressController(store, cloud, settings)):
        until([5, 5, 5])
        for number in range(4):
            put(store, pod(f"p{number}", node="vm2"))
        until([5, 9, 5])
    assert read_demand(store).nodes[1].waiting == 4

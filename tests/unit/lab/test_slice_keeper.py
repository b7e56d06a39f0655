"""The lab's keeping of EndpointSlices: what is in the store follows services and pods."""

from msgspec.structs import replace

from korat.core.model.codec import dump
from korat.core.model.key import Key
from korat.core.model.kubernetes.endpointslice import wanted_slices
from korat.core.model.label import SERVICE_NAME
from korat.core.model.pod import Pod, PodStatus
from korat.core.model.resource import Metadata
from korat.core.model.service import EndpointSlice, Service, ServicePort, ServiceSpec
from korat.drivers.store.client import Client
from korat.drivers.store.memory import MemoryStore
from korat.lab.slice_keeper import SliceKeeper

SERVICE = Service(
    metadata=Metadata(name="svc", namespace="red"),
    spec=ServiceSpec(selector={"app": "web"}, ports=(ServicePort(port=80),)),
)


def pod(name, ip):
    metadata = Metadata(name=name, namespace="red", labels={"app": "web"})
    return Pod(metadata=metadata, status=PodStatus(phase="Running", pod_ip=ip))


class World:
    """A store and its keeper."""

    def __init__(self, *resources):
        self.store = MemoryStore()
        self.client = Client(self.store)
        self.keeper = SliceKeeper(self.store)
        for resource in resources:
            self.client.create(resource)

    def keep(self):
        return self.keeper.keep(self.store.list(["Pod", "Service", "EndpointSlice"]).records)

    def slices(self):
        return self.client.read(["EndpointSlice"]).of("EndpointSlice")

    def addresses(self):
        return [text for each in self.slices() for end in each.endpoints for text in end.addresses]


def test_slices_follow_services_and_pods():
    world = World(SERVICE, pod("a", "10.0.0.1"))
    assert world.keep()
    assert world.addresses() == ["10.0.0.1"]
    (first,) = world.slices()
    assert first.metadata.uid
    world.client.create(pod("b", "10.0.0.2"))
    assert world.keep()
    assert world.addresses() == ["10.0.0.1", "10.0.0.2"]
    assert [each.metadata.uid for each in world.slices()] == [first.metadata.uid]
    world.client.delete(Key("Pod", "red", "a"))
    assert world.keep()
    assert world.addresses() == ["10.0.0.2"]
    world.client.delete(SERVICE.key)
    assert world.keep()
    assert world.slices() == []


def test_what_is_right_is_not_written_again():
    world = World(SERVICE, pod("a", "10.0.0.1"))
    world.keep()
    before = world.store.list().revision
    assert world.keep()
    assert world.store.list().revision == before


def test_what_somebody_broke_is_mended():
    world = World(SERVICE, pod("a", "10.0.0.1"))
    world.keep()
    (made,) = world.slices()
    world.client.update(replace(made, endpoints=()))
    assert world.addresses() == []
    assert world.keep()
    assert world.addresses() == ["10.0.0.1"]


def test_slices_of_others_are_left_alone():
    metadata = Metadata(name="hand", namespace="red", labels={SERVICE_NAME: "svc"})
    world = World(EndpointSlice(metadata=metadata, address_type="IPv4"))
    assert world.keep()
    assert [each.metadata.name for each in world.slices()] == ["hand"]


def test_a_name_that_somebody_else_has_is_tried_again():
    (made,) = wanted_slices([SERVICE, pod("a", "10.0.0.1")]).values()
    taken = replace(made, metadata=replace(made.metadata, labels={}), endpoints=())
    world = World(SERVICE, pod("a", "10.0.0.1"), taken)
    assert not world.keep()
    assert world.addresses() == []
    world.client.delete(taken.key)
    assert world.keep()
    assert world.addresses() == ["10.0.0.1"]


def test_an_object_that_cannot_be_read_is_no_obstacle():
    world = World(SERVICE, pod("a", "10.0.0.1"))
    world.store.create(Key("Service", "red", "broken"), b"{")
    broken = dump(SERVICE).replace(b"svc", b"other")
    world.store.create(Key("Service", "red", "stray"), broken)
    assert world.keep()
    assert world.addresses() == ["10.0.0.1"]

"""The collector against a store, with a clock passed in: what it takes back, when, what never."""

import socket
import threading
from urllib.request import urlopen

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from ipam_world import World, at
from korat.controllers.ipam import PAUSE_S, PERIOD_S, IpamController
from korat.controllers.ipam_metrics import metrics_place
from korat.core.errors import Conflict, Invalid, Unavailable
from korat.core.ipam.affinity import claim
from korat.core.ipam.assign import auto_assign
from korat.core.ipam.draw import Holder
from korat.core.ipam.handle import raise_count
from korat.core.ipam.setting import Settings, configure
from korat.core.ipam.tunnel import Tunnel, ensure_tunnel
from korat.core.ipam.view import Demand
from korat.core.model.codec import dump, resource_of
from korat.core.model.config import ClusterInformation, ClusterInformationSpec
from korat.core.model.key import Key
from korat.core.model.pod import Pod, PodIp, PodSpec, PodStatus
from korat.core.model.resource import Metadata
from korat.core.net.address import Family, Prefix
from korat.drivers.metrics import LOOPBACK, Place
from korat.drivers.store.memory import MemoryStore

GRACE_S = 15 * 60
CONFIGURATION = Key("KubeControllersConfiguration", "", "default")


class Meddled(MemoryStore):
    """Before a request of the collector's, something happens: by the number of the request."""

    def __init__(self):
        super().__init__()
        self.happenings = {}
        self.requests = None

    def list(self, wanted=()):
        if self.requests is not None:
            self.requests += 1
            number, self.requests = self.requests, None
            self.happenings.get(number, lambda: None)()
            self.requests = number
        return super().list(wanted)


class Cluster(World):
    """A world with nodes, pods and a collector; ``pass_s`` is the clock."""

    def __init__(self, **node):
        super().__init__(Meddled())
        self.seconds = 0
        node = {"leakGracePeriod": "15m", **node}
        spec = {"prometheusMetricsPort": 0, "controllers": {"node": node}}
        self.put(*CONFIGURATION[::2], spec)
        self.collector = IpamController(self.store, LOOPBACK, lambda: at(self.seconds))

    def nodes(self, *names):
        for name in names:
            self.put("Node", name)

    def remove(self, kind, name, namespace=""):
        self.store.delete(Key(kind, namespace, name))

    def give(self, pod, host="n1", families=(Family.V4,), handle=""):
        """What CNI does for a pod; its addresses."""
        attributes = {"namespace": "shop", "pod": pod, "node": host}
        holder = Holder(handle or f"net.{pod}", attributes)
        now = at(self.seconds)
        demands = (Demand(host=host, family=family, holder=holder) for family in families)
        done = [self.run(auto_assign(demand, now)) for demand in demands]
        return [str(given.addr) for each in done for given in each.given]

    def pod(self, name, *addresses, host="n1"):
        """The pod's object, as kubelet has it when it knows these addresses."""
        status = PodStatus(pod_ips=tuple(PodIp(ip=each) for each in addresses))
        metadata = Metadata(name=name, namespace="shop")
        resource = Pod(metadata=metadata, spec=PodSpec(node_name=host), status=status)
        for record in self.store.list([resource.key]).records:
            self.store.delete(record.key)
        self.store.create(resource.key, dump(resource))

    def turn(self, after_s=0):
        self.seconds += after_s
        return self.collector.turn()

    def turn_in_which(self, **happenings):
        """A turn before whose n-th request, ``_n``, something happens."""
        self.store.happenings = {int(name[1:]): each for name, each in happenings.items()}
        self.store.requests = 0
        try:
            return self.turn()
        finally:
            self.store.requests = None

    def owners(self):
        return {block.spec.cidr: block.spec.owner for block in self.objects("IPAMBlock")}


#: Of a turn's requests: the survey, then the look right before a release.
LOOK = "_2"


@pytest.fixture
def cluster():
    made = Cluster()
    made.pool()
    made.nodes("n1", "n2")
    return made


def test_a_leaked_address_is_taken_back_after_the_grace_period(cluster):
    (leaked,) = cluster.give("gone")
    (used,) = cluster.give("web")
    cluster.pod("web", used)
    cluster.turn()
    assert cluster.turn(GRACE_S - 1) == PAUSE_S, "it wakes when the address is due"
    assert leaked in cluster.held()
    with capture_logs() as logs:
        cluster.turn(1)
    assert set(cluster.held()) == {used}
    assert set(cluster.handles()) == {"net.web"}
    assert logs == [
        {
            "event": "leaked address taken back",
            "log_level": "info",
            "address": leaked,
            "why": "there is no pod shop/gone any more",
            "node": "n1",
            "handle": "net.gone",
        }
    ]


def test_a_grace_period_begins_anew_when_the_pod_comes_back(cluster):
    (addr,) = cluster.give("web")
    cluster.turn()
    cluster.pod("web", addr)
    cluster.turn(GRACE_S - 1)
    cluster.remove("Pod", "web", "shop")
    cluster.turn(1)
    assert addr in cluster.held()
    cluster.turn(GRACE_S)
    assert cluster.held() == {}


def test_a_pod_that_has_not_told_its_address_keeps_it(cluster):
    (addr,) = cluster.give("web")
    cluster.pod("web")
    cluster.turn()
    cluster.turn(GRACE_S)
    cluster.turn(GRACE_S)
    assert addr in cluster.held()


@pytest.mark.parametrize("told", [["10.0.0.99"], []])
def test_what_a_pod_has_no_more_leaks(cluster, told):
    (addr,) = cluster.give("web")
    cluster.pod("web", *told, host="n1" if told else "n2")
    cluster.turn()
    cluster.turn(GRACE_S)
    assert addr not in cluster.held()


def test_a_pod_is_looked_at_once_more_right_before_the_release(cluster):
    (addr,) = cluster.give("slow")
    cluster.turn()
    cluster.seconds += GRACE_S
    with capture_logs() as logs:
        cluster.turn_in_which(**{LOOK: lambda: cluster.pod("slow", addr)})
    assert addr in cluster.held()
    assert [(each["event"], each["address"]) for each in logs] == [
        ("leaked address came back to life", addr)
    ]


def test_an_address_that_was_given_out_again_stays(cluster):
    (addr,) = cluster.give("gone")
    cluster.turn()
    cluster.seconds += GRACE_S

    def given_out_again():
        cluster.release(addr)
        cluster.assign_ip(addr, handle="net.gone")

    with capture_logs() as logs:
        cluster.turn_in_which(_3=given_out_again)
    assert cluster.held() == {addr: "net.gone"}
    assert [each["event"] for each in logs] == ["address not taken back"]


def test_all_addresses_of_a_handle_go_or_none(cluster):
    cluster.pool("six", "fd00::/120", 124)
    four, six = cluster.give("both", families=tuple(Family))
    cluster.pod("both", six)
    cluster.turn()
    cluster.turn(GRACE_S)
    assert set(cluster.held()) == {four, six}
    cluster.remove("Pod", "both", "shop")
    cluster.turn()
    cluster.turn(GRACE_S)
    assert cluster.held() == {}


def test_one_that_was_seen_later_makes_its_handle_wait(cluster):
    cluster.pool("six", "fd00::/120", 124)
    cluster.give("both")
    cluster.turn()
    cluster.give("both", families=(Family.V6,))
    cluster.turn(GRACE_S - 1)
    cluster.turn(1)
    assert len(cluster.held()) == 2
    cluster.turn(GRACE_S)
    assert cluster.held() == {}


def test_ipv6_is_compared_as_numbers(cluster):
    cluster.pool("six", "fd00::/120", 124)
    (addr,) = cluster.give("web", families=(Family.V6,))
    cluster.pod("web", addr.replace("fd00::", "FD00:0:0:0:0:0:0:"))
    cluster.turn()
    cluster.turn(GRACE_S)
    assert addr in cluster.held()


def test_who_does_not_say_his_pod_is_left_alone(cluster):
    cluster.assign_ip("10.0.0.9", handle="somebody")
    cluster.turn()
    cluster.turn(GRACE_S)
    assert set(cluster.held()) == {"10.0.0.9"}


def test_a_grace_period_of_0_takes_only_from_nodes_that_are_gone():
    cluster = Cluster(leakGracePeriod="0s")
    cluster.pool()
    cluster.nodes("n1", "n2")
    (there,), (gone,) = cluster.give("a", "n1"), cluster.give("b", "n2")
    cluster.remove("Node", "n2")
    assert cluster.turn() == PERIOD_S
    cluster.turn(10 * GRACE_S)
    assert set(cluster.held()) == {there}
    assert gone not in cluster.held()


def test_without_a_controller_of_nodes_nothing_is_taken_back():
    cluster = Cluster()
    cluster.store.delete(CONFIGURATION)
    cluster.put(*CONFIGURATION[::2], {"controllers": {}, "prometheusMetricsPort": 0})
    cluster.pool()
    cluster.give("a", "gone")
    with capture_logs() as logs:
        cluster.turn()
        cluster.turn(GRACE_S)
    assert len(cluster.held()) == 1
    assert [each["why"] for each in logs] == ["there is no controller of nodes"]


def test_while_the_datastore_is_locked_nothing_is_taken_back(cluster):
    information = ClusterInformation(
        metadata=Metadata(name="default"), spec=ClusterInformationSpec(datastore_ready=False)
    )
    record = cluster.store.create(information.key, dump(information))
    cluster.give("a", "gone")
    with capture_logs() as logs:
        assert cluster.turn() == PERIOD_S
    assert [each["why"] for each in logs] == ["the datastore is locked"]
    assert len(cluster.held()) == 1
    ready = replace(information, spec=ClusterInformationSpec(datastore_ready=True))
    cluster.store.update(information.key, dump(ready), record.revision)
    cluster.turn()
    assert cluster.held() == {}


def test_of_a_node_that_is_gone_nothing_stays(cluster):
    cluster.give("a")
    tunnel = Tunnel.VXLAN
    cluster.pool("tunnels", "10.1.0.0/24", vxlanMode="Always")
    cluster.run(ensure_tunnel(tunnel, "n1", None, at()))
    cluster.turn()
    cluster.turn(10)
    assert len(cluster.held()) == 2, "a tunnel's address lives as long as its node"
    cluster.remove("Node", "n1")
    with capture_logs() as logs:
        cluster.turn()
    assert cluster.held() == cluster.handles() == cluster.owners() == {}
    assert cluster.names("BlockAffinity") == []
    assert {each["event"] for each in logs} == {
        "leaked address taken back",
        "node is gone, its blocks are free",
    }


def test_what_others_have_of_a_node_that_is_gone_stays_theirs():
    cluster = Cluster()
    cluster.pool(cidr="10.0.0.0/30", blockSize=30)
    cluster.nodes("n1", "n2")
    cluster.give("a", "n1")
    (borrowed,) = cluster.give("b", "n2")
    cluster.pod("b", borrowed, host="n2")
    cluster.remove("Node", "n1")
    cluster.turn()
    assert set(cluster.held()) == {borrowed}
    assert cluster.owners() == {"10.0.0.0/30": ""}
    cluster.release_handle("net.b")
    assert cluster.owners() == {}


def test_a_node_with_a_living_pod_is_not_gone(cluster):
    (addr,) = cluster.give("web")
    cluster.give("other")
    cluster.pod("web", addr)
    cluster.remove("Node", "n1")
    cluster.turn()
    cluster.turn(GRACE_S - 1)
    assert len(cluster.held()) == 2
    cluster.turn(1)
    assert set(cluster.held()) == {addr}
    assert set(cluster.owners().values()) == {"host:n1"}


def test_a_node_that_comes_back_keeps_its_own(cluster):
    (addr,) = cluster.give("web")
    cluster.remove("Node", "n1")
    cluster.turn_in_which(**{LOOK: lambda: cluster.nodes("n1")})
    assert addr in cluster.held()
    assert set(cluster.owners().values()) == {"host:n1"}


def test_half_done_claims_of_nodes_that_are_gone_are_undone(cluster):
    operation = claim("host:n9", Prefix.parse("10.0.0.16/28"), at())
    request = next(operation)
    for _ in range(3):  # the look, the pending claim, the block
        answer = (
            cluster.store.list(request.wanted)
            if hasattr(request, "wanted")
            else cluster.store.create(request.key, request.value)
        )
        request = operation.send(answer)
    operation.close()
    (claimed,) = cluster.objects("BlockAffinity")
    assert (claimed.spec.state, len(cluster.owners())) == ("pending", 1)
    cluster.turn()
    assert (cluster.owners(), cluster.names("BlockAffinity")) == ({}, [])


def test_an_empty_block_goes_when_it_was_empty_twice_and_the_node_keeps_one(cluster):
    for i in range(17):
        cluster.give(f"p{i}")
    for i in range(17):
        cluster.release_handle(f"net.p{i}")
    assert len(cluster.owners()) == 2
    cluster.turn()
    assert len(cluster.owners()) == 2
    cluster.give("new")
    cluster.release_handle("net.new")
    cluster.turn()
    assert len(cluster.owners()) in {1, 2}, "the one that was written meanwhile stays for now"
    cluster.turn()
    cluster.turn()
    assert len(cluster.owners()) == 1


def test_what_has_cooled_down_is_freed_and_then_its_block(cluster):
    cluster.run(configure(Settings(cooldown_s=60)))
    cluster.give("a", "gone")
    cluster.turn()
    (block,) = cluster.objects("IPAMBlock")
    assert (cluster.held(), block.spec.owner) == ({}, "")
    cluster.turn(59)
    assert cluster.names("IPAMBlock")
    cluster.turn(1)
    assert cluster.names("IPAMBlock") == []


def test_a_handle_that_counts_too_much_is_counted_anew_when_nobody_wrote_it(cluster):
    cluster.run(raise_count("net.crashed", Prefix.parse("10.0.0.0/28"), 1))
    cluster.turn()
    cluster.run(raise_count("net.crashed", Prefix.parse("10.0.0.0/28"), 1))
    cluster.turn()
    assert set(cluster.handles()) == {"net.crashed"}
    cluster.turn()
    assert cluster.handles() == {}


def test_nobody_is_taken_for_gone_because_his_object_is_broken(cluster):
    cluster.give("a", "gone")
    cluster.store.create(Key("Pod", "shop", "a"), b"{")
    with pytest.raises(Invalid, match="Pod shop/a"):
        cluster.turn()
    assert len(cluster.held()) == 1


def test_a_broken_block_is_said_and_stops_nobody_else(cluster):
    cluster.store.create(Key("IPAMBlock", "", "10.0.0.240-28"), b"{")
    cluster.give("a", "gone")
    with capture_logs() as logs:
        cluster.turn()
        cluster.turn()
    broken = [each["objects"] for each in logs if each["log_level"] == "error"]
    assert broken == [["IPAMBlock 10.0.0.240-28"]]
    cluster.remove("IPAMBlock", "10.0.0.240-28")
    assert cluster.held() == {}


def test_what_one_object_refuses_does_not_stop_the_others(cluster):
    cluster.give("a", "gone1")
    cluster.give("b", "gone2")
    (first, second) = sorted(cluster.owners())

    def refuse(key, value, revision):
        if first.replace("/", "-") in key.name:
            raise Conflict("somebody is always faster")
        return MemoryStore.update(cluster.store, key, value, revision)

    cluster.store.update = refuse
    with capture_logs() as logs:
        cluster.turn()
    assert second not in cluster.owners()
    assert first in cluster.owners()
    assert "left for the next turn" in {each["event"] for each in logs}


def test_a_store_that_is_away_is_asked_again(cluster):
    cluster.give("a", "gone")

    def away(*_):
        raise Unavailable("the store is away")

    cluster.store.update = away
    with pytest.raises(Unavailable):
        cluster.turn()
    del cluster.store.update
    cluster.turn()
    assert cluster.held() == {}


@pytest.mark.parametrize(
    ("grace", "first_s"),
    [("15m", PERIOD_S), ("1m", 30.0), ("1s", PAUSE_S), ("500ms", PAUSE_S), ("0s", PERIOD_S)],
)
def test_how_often_it_looks(grace, first_s):
    assert Cluster(leakGracePeriod=grace).turn() == first_s


def test_it_runs_until_it_is_told_and_wakes_when_a_node_goes(cluster):
    (addr,) = cluster.give("a")
    cluster.pod("a", addr)
    thread = threading.Thread(target=cluster.collector.run)
    with cluster.store.watch(cluster.store.list().revision) as watch:
        thread.start()
        cluster.remove("Pod", "a", "shop")
        cluster.remove("Node", "n1")
        while cluster.names("IPAMBlock"):
            assert watch.poll(10.0), "nothing happens"
    cluster.collector.stop()
    thread.join(10.0)
    assert not thread.is_alive()


# Metrics.


def numbers(cluster):
    """Every sample: its name, its labels' values in order, its number."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for metric in cluster.collector.metrics.collect()
        for sample in metric.samples
    }


def test_metrics_have_calicos_names_and_labels():
    cluster = Cluster()
    cluster.pool(cidr="10.0.0.0/30", blockSize=30)
    cluster.nodes("n1", "n2", "n3")
    cluster.put("IPReservation", "r", {"reservedCIDRs": ["10.0.0.0/31", "10.9.0.0/16"]})
    (own,) = cluster.give("a", "n1")
    cluster.pod("a", own)
    cluster.give("b", "n2")
    cluster.turn()
    assert numbers(cluster) == {
        ("ipam_ippool_size", "pool"): 4,
        ("ipam_ippool_reserved", "pool"): 2,
        ("ipam_allocations_in_use", "pool", "n1"): 1,
        ("ipam_allocations_in_use", "pool", "n2"): 1,
        ("ipam_allocations_in_use", "pool", "n3"): 0,
        ("ipam_allocations_borrowed", "pool", "n1"): 0,
        ("ipam_allocations_borrowed", "pool", "n2"): 1,
        ("ipam_allocations_borrowed", "pool", "n3"): 0,
        ("ipam_allocations_gc_candidates", "pool", "n1"): 0,
        ("ipam_allocations_gc_candidates", "pool", "n2"): 1,
        ("ipam_allocations_gc_candidates", "pool", "n3"): 0,
        ("ipam_blocks", "pool", "n1"): 1,
        ("ipam_allocations_per_node", "n1"): 1,
        ("ipam_allocations_per_node", "n2"): 1,
        ("ipam_allocations_per_node", "n3"): 0,
        ("ipam_allocations_borrowed_per_node", "n1"): 0,
        ("ipam_allocations_borrowed_per_node", "n2"): 1,
        ("ipam_allocations_borrowed_per_node", "n3"): 0,
        ("ipam_blocks_per_node", "n1"): 1,
    }
    cluster.turn(GRACE_S)
    after = numbers(cluster)
    assert after["ipam_allocations_gc_candidates", "pool", "n2"] == 0
    assert after["ipam_allocations_gc_reclamations", "pool", "n2"] == 1


def test_metrics_of_what_has_no_pool_and_no_node(cluster):
    cluster.assign_ip("10.0.0.9", handle="a")
    cluster.assign(handle="b", host="n2")
    cluster.remove("IPPool", "pool")
    (block, *_) = cluster.objects("IPAMBlock")
    free = replace(block, spec=replace(block.spec, affinity=None))
    cluster.store.update(block.key, dump(free), int(block.metadata.resource_version))
    found = numbers(cluster)
    assert found["ipam_blocks", "no_ippool", "no_affinity"] == 1
    (record,) = cluster.store.list([cluster.objects("IPAMBlock")[0].key]).records
    nameless = resource_of(record)
    attributes = tuple(replace(each, secondary={}) for each in nameless.spec.attributes)
    spec = replace(nameless.spec, attributes=attributes)
    cluster.store.update(record.key, dump(replace(nameless, spec=spec)), record.revision)
    assert numbers(cluster)["ipam_allocations_in_use", "no_ippool", "unknown_node"] == 1


def test_a_node_that_is_gone_is_not_counted_for_ever(cluster):
    cluster.give("a", "gone")
    cluster.turn()
    assert not [key for key in numbers(cluster) if "gone" in key]


def test_metrics_are_served_where_the_settings_say(cluster, unused_port):
    cluster.store.delete(CONFIGURATION)
    cluster.put(*CONFIGURATION[::2], {"prometheusMetricsPort": unused_port, "controllers": {}})
    cluster.turn()
    with urlopen(f"http://{LOOPBACK}:{unused_port}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    assert 'ipam_ippool_size{ippool="pool"} 256.0' in text
    cluster.collector.stop()
    cluster.collector.run()


def test_where_metrics_are_served():
    (record,) = Cluster().store.list([CONFIGURATION]).records
    assert metrics_place(resource_of(record), LOOPBACK) is None
    assert metrics_place(None, "0.0.0.0") == Place("0.0.0.0", 9094, process=True)


@pytest.fixture
def unused_port():
    with socket.create_server((LOOPBACK, 0)) as sock:
        return sock.getsockname()[1]

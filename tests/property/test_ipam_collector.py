"""The collector takes what leaked, all of it, and nothing else.

Pods, and workloads without Kubernetes, come and go on nodes that come and go: some cleanly, some
without giving anything back, some with their program killed between two writes. All of that goes on
between any two requests of the collector's own turn, too. What somebody living has stays his; once
the world has come to rest, what is left is what the living have, and nothing is left of nodes that
are gone.
"""

from collections import Counter
from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ipam_steps import Act
from ipam_world import World, at
from korat.controllers.ipam import IpamController
from korat.core.ipam.assign import assign_all
from korat.core.ipam.block import address_of, handle_at, is_empty, is_resting
from korat.core.ipam.draw import Holder
from korat.core.ipam.release import release_by_handle
from korat.core.ipam.setting import Settings, configure
from korat.core.ipam.tunnel import Tunnel, ensure_tunnel
from korat.core.ipam.view import Demand
from korat.core.model.codec import dump
from korat.core.model.endpoint import WorkloadEndpoint, WorkloadEndpointSpec
from korat.core.model.key import Key
from korat.core.model.pod import Pod, PodIp, PodSpec, PodStatus
from korat.core.model.resource import Metadata
from korat.core.model.validate import validate
from korat.core.net.address import Family
from korat.drivers.store.memory import MemoryStore

HOSTS = ("n1", "n2", "n3")
NAMES = ("a", "b", "c", "d")
GRACE_S = 100
COOLDOWN_S = 30
#: Blocks of two addresses, so that one is soon given out again, and nodes have several.
POOLS = {"four": ("10.0.0.0/27", 31), "six": ("fd00::/123", 127)}
CONFIGURATION = {
    "prometheusMetricsPort": 0,
    "controllers": {"node": {"leakGracePeriod": f"{GRACE_S}s"}},
}
#: What may happen between any two requests.
HAPPENINGS = (
    *["begin_pod"] * 3,
    *["begin_endpoint"] * 2,
    *["arrive"] * 5,
    *["go_on"] * 4,
    "go_on_to_the_end",
    "die",
    *["end_cleanly"] * 2,
    *["vanish"] * 3,
    *["come_late"] * 3,
    "node_comes",
    "node_goes",
    "tunnel",
)

which = st.integers(0, 10**6)
happening = st.tuples(st.sampled_from(HAPPENINGS), which)


class Meddling:
    """A store in which something happens before each request."""

    def __init__(self, store, happen):
        self._store, self._happen = store, happen

    def __getattr__(self, name):
        method = getattr(self._store, name)
        if name in {"list", "create", "update", "delete"}:
            self._happen()
        return method


@dataclass
class Workload:
    """A pod, or a workload without Kubernetes; ``serial`` tells it from others of its name."""

    name: str
    host: str
    is_pod: bool
    serial: int
    addresses: tuple = ()

    @property
    def handle(self):
        return f"net.{self.serial}"

    @property
    def key(self):
        if self.is_pod:
            return Key("Pod", "shop", self.name)
        return Key("WorkloadEndpoint", "shop", f"{self.host}-cni-{self.name}-eth0")

    def object(self):
        """What the store is told of it."""
        metadata = Metadata(name=self.key.name, namespace="shop")
        if self.is_pod:
            ips = tuple(PodIp(ip=str(addr)) for addr in self.addresses)
            spec, status = PodSpec(node_name=self.host), PodStatus(pod_ips=ips)
            return Pod(metadata=metadata, spec=spec, status=status)
        networks = tuple(f"{addr}/{addr.family.bits}" for addr in self.addresses)
        spec = WorkloadEndpointSpec(node=self.host, pod=self.name, ip_networks=networks)
        return WorkloadEndpoint(metadata=metadata, spec=spec)

    def demands(self):
        attributes = {"node": self.host, "pod": self.name, "namespace": "shop"}
        holder = Holder(self.handle, attributes)
        return [Demand(host=self.host, family=family, holder=holder) for family in Family]


class Collecting(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.world = World(MemoryStore())
        self.store = self.world.store
        self.acts = []
        self.living = {}
        self.nodes = set()
        self.tunnels = {}
        self.vanished = []
        self.seconds = 0
        self.serial = 0
        self.pending = []
        self.is_meddling = False
        self.controller = IpamController(
            Meddling(self.store, self._meddle), "127.0.0.1", lambda: at(self.seconds, self.seconds)
        )

    @initialize(cooldown=st.sampled_from([0, COOLDOWN_S]))
    def begin(self, cooldown):
        for name, (cidr, size) in POOLS.items():
            self.world.pool(name, cidr, size, vxlanMode="Always")
        self.world.put("KubeControllersConfiguration", "default", CONFIGURATION)
        self.world.run(configure(Settings(cooldown_s=cooldown)))
        for host in HOSTS:
            self.node_comes(HOSTS.index(host))

    @rule(what=st.lists(happening, min_size=1, max_size=12))
    def things_happen(self, what):
        for name, pick in what:
            getattr(self, name)(pick)

    @rule(meanwhile=st.lists(happening, max_size=30))
    def collect(self, meanwhile):
        self.pending = meanwhile
        self.controller.turn()
        self.pending = []

    @rule(seconds=st.sampled_from([1, COOLDOWN_S, GRACE_S // 2, GRACE_S]))
    def time_passes(self, seconds):
        """No program takes so long to write down what it has allocated: it would be killed."""
        for act in [act for act in self.acts if not getattr(act.about["whose"], "is_pod", False)]:
            self._kill(act)
        self.seconds += seconds

    def _meddle(self):
        if self.is_meddling:
            return
        self.is_meddling = True
        if self.pending:
            name, pick = self.pending.pop(0)
            getattr(self, name)(pick)
        self.look()
        self.is_meddling = False

    # What happens.

    def begin_pod(self, pick):
        """The pod is there before its addresses, on any node, even on one that is gone."""
        own = self._new(HOSTS[pick % 3], pick // 3, is_pod=True)
        if own.name not in self.living:
            self.living[own.name] = own
            self.store.create(own.key, dump(own.object()))
            act = self._begin(own, assign_all(own.demands(), self._moment))
            self._step(act, pick // 12 % 16)

    def begin_endpoint(self, pick):
        """The endpoint is there after its addresses, on a node that is there."""
        if self.nodes:
            own = self._new(sorted(self.nodes)[pick % len(self.nodes)], pick // 3, is_pod=False)
            act = self._begin(own, assign_all(own.demands(), self._moment))
            self._step(act, pick // 12 % 16)

    def arrive(self, pick):
        """All at once."""
        before = len(self.acts)
        (self.begin_pod if pick % 2 else self.begin_endpoint)(pick // 2)
        for act in self.acts[before:]:
            self._step(act, 10**6)

    def _new(self, host, pick, *, is_pod):
        self.serial += 1
        name = NAMES[pick % 4] if is_pod else f"{NAMES[pick % 4]}-{self.serial}"
        return Workload(name, host, is_pod, self.serial)

    def tunnel(self, pick):
        if self.nodes:
            host = sorted(self.nodes)[pick % len(self.nodes)]
            kind = tuple(Tunnel)[pick % 2]
            self._begin((kind, host), ensure_tunnel(kind, host, None, self._moment))

    def end_cleanly(self, pick):
        own = self._end(pick)
        if own is not None:
            self._begin(None, release_by_handle(own.handle, self._moment))

    def vanish(self, pick):
        own = self._end(pick)
        self.vanished += [own] if own is not None else []

    def come_late(self, pick):
        """The end of one that has vanished is told after all."""
        if self.vanished:
            own = self.vanished.pop(pick % len(self.vanished))
            act = self._begin(None, release_by_handle(own.handle, self._moment))
            self._step(act, 10**6)

    def _end(self, pick):
        if not self.living:
            return None
        own = self.living.pop(sorted(self.living)[pick % len(self.living)])
        for act in [act for act in self.acts if act.about["whose"] is own]:
            self._kill(act)
        self.store.delete(own.key)
        return own

    def node_comes(self, pick):
        host = HOSTS[pick % 3]
        if host not in self.nodes:
            self.nodes.add(host)
            self.world.put("Node", host)

    def node_goes(self, pick):
        """Its programs die with it; of its workloads' objects some stay for a while."""
        host = HOSTS[pick % 3]
        if host in self.nodes:
            self.nodes.discard(host)
            self.store.delete(Key("Node", "", host))
            self.tunnels = {each: addr for each, addr in self.tunnels.items() if each[1] != host}
            for act in [act for act in self.acts if self._host_of(act) == host]:
                self._kill(act)
            if pick % 2:
                for own in [own for own in self.living.values() if own.host == host]:
                    self.store.delete(self.living.pop(own.name).key)

    def _host_of(self, act):
        whose = act.about["whose"]
        return whose[1] if isinstance(whose, tuple) else getattr(whose, "host", None)

    def go_on(self, pick):
        if self.acts:
            self._step(self.acts[pick % len(self.acts)], 1)

    def go_on_to_the_end(self, pick):
        if self.acts:
            self._step(self.acts[pick % len(self.acts)], 10**6)

    def die(self, pick):
        if self.acts:
            self._kill(self.acts[pick % len(self.acts)])

    def _begin(self, whose, operation):
        self.acts.append(Act("", operation, {"whose": whose}))
        return self.acts[-1]

    def _step(self, act, times):
        for _ in range(times):
            if act.is_over:
                break
            act.step(self.store)
        self._settle_account(act)

    def _kill(self, act):
        act.die()
        self.acts.remove(act)

    def _settle_account(self, act):
        """Who has got his addresses is told of, in the store, and so lives by them."""
        if not act.is_over:
            return
        self.acts.remove(act)
        whose = act.about["whose"]
        if act.error is not None or whose is None:
            return
        if isinstance(whose, tuple):
            if act.result.addr is not None:
                self.tunnels[whose] = act.result.addr
            return
        given = [given.addr for done in act.result for given in done.given]
        if any(done.missing for done in act.result) or len(given) < 2:
            return
        whose.addresses = tuple(given)
        self._tell(whose)

    def _tell(self, own):
        there = self.store.list([own.key]).records
        if there:
            self.store.update(own.key, dump(own.object()), there[0].revision)
        else:
            self.store.create(own.key, dump(own.object()))
        self.living[own.name] = own

    # The laws.

    @invariant()
    def look(self):
        held = self._held()
        for own in self.living.values():
            for addr in own.addresses:
                assert held.get(addr) == own.handle, f"{addr} of {own} is lost"
        for (kind, host), addr in self.tunnels.items():
            assert held.get(addr) == kind.handle_id(host)
        counts = Counter()
        for block in self.world.objects("IPAMBlock"):
            assert not validate(block)
            for ordinal, index in enumerate(block.spec.allocations):
                if index is not None and not is_resting(block, ordinal):
                    counts[handle_at(block, ordinal), block.spec.cidr] += 1
        handles = self.world.handles()
        for (own, cidr), count in counts.items():
            assert handles[own][cidr] >= count

    def teardown(self):
        if not self.nodes and not self.serial:
            return
        for act in list(self.acts):
            self._kill(act)
        for own in [own for own in self.living.values() if not own.addresses]:
            self.store.delete(self.living.pop(own.name).key)
        for _ in range(6):  # seen, due, rested, empty, empty still
            self.controller.turn()
            self.seconds += GRACE_S
        self.look()
        self._only_the_living_are_left()
        self._nothing_is_left_of_nodes_that_are_gone()

    def _only_the_living_are_left(self):
        theirs = {addr for own in self.living.values() for addr in own.addresses}
        kept = {kind.handle_id(host) for kind in Tunnel for host in self.nodes}
        rest = {addr: own for addr, own in self._held().items() if addr not in theirs}
        assert set(rest.values()) <= kept
        counts = Counter(self._held().values())
        assert {name: sum(each.values()) for name, each in self.world.handles().items()} == counts
        for block in self.world.objects("IPAMBlock"):
            places = range(len(block.spec.allocations))
            assert not any(is_resting(block, ordinal) for ordinal in places)

    def _nothing_is_left_of_nodes_that_are_gone(self):
        users = {own.host for own in self.living.values()}
        empty = Counter()
        for block in self.world.objects("IPAMBlock"):
            owner = block.spec.owner.removeprefix("host:")
            assert owner in self.nodes | users or (not owner and not is_empty(block))
            empty[owner, ":" in block.spec.cidr] += owner in self.nodes and is_empty(block)
        assert max(empty.values(), default=0) <= 1, "a node keeps one empty block at most"
        for claim in self.world.objects("BlockAffinity"):
            assert claim.spec.node in self.nodes | users

    # Words for the above.

    @property
    def _moment(self):
        return at(self.seconds, dice=self.serial)

    def _held(self):
        return {
            address_of(block, ordinal): handle_at(block, ordinal)
            for block in self.world.objects("IPAMBlock")
            for ordinal, index in enumerate(block.spec.allocations)
            if index is not None and not is_resting(block, ordinal)
        }


TestCollecting = Collecting.TestCase
TestCollecting.settings = settings(max_examples=40, stateful_step_count=30)

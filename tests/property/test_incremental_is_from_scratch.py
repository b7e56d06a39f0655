"""Law: a node that saw every change holds what one that starts now would make of the same objects.

Random objects of every kind come, change and go in random order, several at a time; after each
turn the ruleset, the routes and the problems must be those of a fresh start, and the transactions
must lead from what was there to it.
"""

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from msgspec.structs import replace

from host_world import membership
from korat.agent.intent import NodeState, intent
from korat.core.model.codec import dump, load
from korat.core.model.host import HostEndpoint, HostEndpointSpec
from korat.core.model.resource import Metadata
from korat.core.net.address import Addr
from korat.core.policy.cluster import Cluster
from korat.core.policy.host import HostInterface
from korat.core.render.nft.check import check
from korat.core.render.nft.diff import stages
from korat.core.render.nft.ruleset import NamedSet
from nft_transaction import Table
from strategies_policy import HOST_ADDRESSES, NETS, NODE, clusters

#: Kinds that have addresses and labels.
OWNERS = ("WorkloadEndpoint", "HostEndpoint", "NetworkSet", "GlobalNetworkSet")


def by_key(resources):
    return {resource.key: resource for resource in resources}


class Node(RuleBasedStateMachine):
    """One node's state, the objects it was told of, and a kernel that follows its transactions."""

    def __init__(self):
        super().__init__()
        self.state = NodeState(NODE, {})
        self.there = {}
        self.ruleset = None
        self.kernel = Table()
        self.interfaces = ()

    def turn(self, changes):
        for key, resource in changes.items():
            self.state.set(key, resource)
            if resource is None:
                self.there.pop(key, None)
            else:
                self.there[key] = resource
        found, fresh = self.state.intent(), intent(self.there, NODE, {}, self.interfaces)
        check(found.ruleset)
        assert dict(found.ruleset.chains) == dict(fresh.ruleset.chains)
        assert plain(found.ruleset) == plain(fresh.ruleset)
        assert dict(found.ruleset.counters) == dict(fresh.ruleset.counters)
        assert (found.routes, found.endpoints) == (fresh.routes, fresh.endpoints)
        assert found.problems == fresh.problems
        self.check_hosts(found.own, fresh.own)
        for transaction in stages(self.ruleset, found.ruleset):
            self.kernel.apply(transaction)
        whole = Table()
        whole.apply(fresh.ruleset.text)
        assert self.kernel == whole
        self.ruleset = found.ruleset

    def check_hosts(self, found, fresh):
        """What connections are judged by is that of a fresh start, and what a scan finds."""
        assert (found is None) is (fresh is None)
        if found is not None:
            assert found.rules == fresh.rules
            cluster = Cluster.build(self.there.values())
            assert found.members == membership(cluster, found.sequences)

    @initialize(resources=clusters())
    def begins(self, resources):
        self.turn(by_key(resources))

    @rule(resources=clusters())
    def becomes_another_cluster(self, resources):
        wanted = by_key(resources)
        gone = dict.fromkeys(self.there.keys() - wanted.keys())
        self.turn({**gone, **wanted})

    @rule(resources=clusters(), data=st.data())
    def some_come_or_change(self, resources, data):
        keys = sorted(by_key(resources))
        chosen = data.draw(st.lists(st.sampled_from(keys), max_size=4)) if keys else []
        self.turn({key: by_key(resources)[key] for key in chosen})

    @precondition(lambda self: self.there)
    @rule(data=st.data())
    def some_go(self, data):
        gone = data.draw(st.lists(st.sampled_from(sorted(self.there)), min_size=1, max_size=4))
        self.turn(dict.fromkeys(gone))

    def some(self, data, *kinds):
        """Some of the objects of these kinds that are there."""
        keys = sorted(key for key in self.there if key.kind in kinds)
        chosen = data.draw(st.lists(st.sampled_from(keys), max_size=3)) if keys else []
        return [self.there[key] for key in chosen]

    @rule(data=st.data(), node=st.sampled_from((NODE, "there", "")))
    def some_move_to_another_node(self, data, node):
        found = self.some(data, "WorkloadEndpoint", "HostEndpoint")
        self.turn({e.key: replace(e, spec=replace(e.spec, node=node)) for e in found})

    @rule(data=st.data(), name=st.sampled_from(("cali1", "cali2", "", "eth0", 'no"name')))
    def some_claim_an_interface(self, data, name):
        found = self.some(data, "WorkloadEndpoint")
        self.turn({e.key: replace(e, spec=replace(e.spec, interface_name=name)) for e in found})

    @rule(data=st.data(), address=st.sampled_from(("10.0.0.1/32", "fd00::2/128", "nonsense")))
    def some_claim_an_address(self, data, address):
        found = self.some(data, "WorkloadEndpoint")
        self.turn({e.key: replace(e, spec=replace(e.spec, ip_networks=(address,))) for e in found})

    @rule(data=st.data(), label=st.sampled_from(("app", "role", "pcns.team")))
    def labels_change(self, data, label):
        """Those that namespaces and accounts lend, and own ones."""
        turn = {}
        for each in self.some(data, "Profile"):
            lent = {**each.spec.labels_to_apply, label: data.draw(st.sampled_from("axp"))}
            turn[each.key] = replace(each, spec=replace(each.spec, labels_to_apply=lent))
        for each in self.some(data, *OWNERS):
            own = {**each.metadata.labels, label: data.draw(st.sampled_from("axp"))}
            turn[each.key] = replace(each, metadata=replace(each.metadata, labels=own))
        self.turn(turn)

    @rule(data=st.data(), nets=st.sets(st.sampled_from(NETS), max_size=3))
    def sets_have_other_addresses(self, data, nets):
        found = self.some(data, "NetworkSet", "GlobalNetworkSet")
        self.turn({e.key: replace(e, spec=replace(e.spec, nets=tuple(nets))) for e in found})

    @rule(resources=clusters(), interface=st.sampled_from(("*", "eth0")))
    def host_policy_asks_for_others(self, resources, interface):
        """Global policies for all, and a host endpoint that they select."""
        spec = HostEndpointSpec(node=NODE, interface_name=interface)
        own = HostEndpoint(metadata=Metadata(name="asking"), spec=spec)
        asking = [
            replace(each, spec=replace(each.spec, selector="", namespace_selector=""))
            for each in resources
            if each.kind == "GlobalNetworkPolicy"
        ]
        self.turn(by_key([own, *asking]))

    @rule(data=st.data())
    def some_are_written_again_as_they_are(self, data):
        again = [self.there[key] for key in sorted(self.there) if data.draw(st.booleans())]
        before = self.ruleset
        self.turn({each.key: load(each.key, dump(each)) for each in again})
        assert stages(before, self.ruleset) == ()

    @rule(data=st.data())
    def some_go_and_come_again(self, data):
        gone = self.some(data, *{key.kind for key in self.there})
        self.turn(dict.fromkeys(each.key for each in gone))
        self.turn({each.key: each for each in gone})

    @rule(names=st.sets(st.sampled_from(("eth0", "eth1", "cali1"))))
    def interfaces_come_and_go(self, names):
        own = frozenset(map(Addr.parse, HOST_ADDRESSES.values()))
        self.interfaces = tuple(HostInterface(name, own) for name in sorted(names))
        self.state.see(self.interfaces)
        self.turn({})

    @rule()
    def nothing_happens(self):
        self.turn({})
        assert stages(self.ruleset, self.state.intent().ruleset) == ()

    @rule(resources=clusters(), data=st.data())
    def one_comes_and_goes_in_one_turn(self, resources, data):
        found = by_key(resources)
        if not found:
            return
        key = data.draw(st.sampled_from(sorted(found)))
        self.state.set(key, found[key])
        self.turn({key: self.there.get(key)})


def plain(ruleset):
    """The lookups with their elements as ordinary mappings and sets."""
    return {
        name: (
            type(lookup),
            lookup.types,
            lookup.elements if isinstance(lookup, NamedSet) else dict(lookup.elements),
        )
        for name, lookup in ruleset.lookups.items()
    }


TestNode = Node.TestCase
#: Each step makes a node from scratch; many short histories find more than few long ones.
TestNode.settings = settings(
    max_examples=max(10, settings().max_examples // 5),
    stateful_step_count=6,
    report_multiple_bugs=False,
)

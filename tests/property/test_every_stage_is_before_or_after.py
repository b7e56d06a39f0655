"""Law: while a node's table is changed, every packet is judged as before or as after, never else.

From any cluster to any other, and by a few objects: after each of the transactions that lead there
the table is taken from a model of the kernel's side, and packets are sent through it.
"""

from dataclasses import replace

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from korat.agent.intent import NodeState
from korat.core.model.config import FelixConfiguration
from korat.core.model.resource import Metadata
from korat.core.policy.platform import INSTANCE_METADATA, WIRESERVER
from korat.core.render.nft.diff import stages
from korat.core.render.nft.ruleset import Chain, Hook, NamedSet, Ruleset, add_elements
from korat.core.render.nft.simulate import Packet, Simulator
from nft_transaction import Table
from strategies_policy import NODE, clusters, packets

#: Each example makes a node of each side; to make a failing one smaller takes longer than it helps.
SOME = settings(
    phases=[Phase.explicit, Phase.reuse, Phase.generate], max_examples=settings().max_examples // 3
)


class Kernel:
    """A table as its transactions made it, which packets can be sent through."""

    def __init__(self, *rulesets):
        self.table = Table()
        self._rules, self._bases, self._lookups, self._elements, self._counters = {}, {}, {}, {}, {}
        for each in rulesets:
            for name, chain in each.chains.items():
                self._bases[name] = chain.base
                self._rules |= {rule.text: rule for rule in chain.rules}
            for name, lookup in each.lookups.items():
                self._lookups[name] = lookup
                for key in lookup.elements:
                    (command,) = add_elements(name, lookup, [key])
                    text = command.partition(" { ")[2].removesuffix(" }")
                    value = None if isinstance(lookup, NamedSet) else lookup.elements[key]
                    self._elements[name, text] = key, value
            self._counters |= dict(each.counters)

    def ruleset(self):
        """What is there, as a value."""
        lookups = {}
        for name, (_, texts) in self.table.lookups.items():
            found = dict(self._elements[name, text] for text in texts.values())
            of_set = isinstance(self._lookups[name], NamedSet)
            elements = frozenset(found) if of_set else found
            lookups[name] = replace(self._lookups[name], elements=elements)
        return Ruleset(
            lookups,
            {
                name: Chain(tuple(self._rules[text] for text in rules), self._bases[name])
                for name, (_, rules) in self.table.chains.items()
            },
            {name: self._counters[name] for name in self.table.counters},
        )


def ways(resources, flow):
    """The packet to and from the node, and from, to and between the workloads of all these.

    With the hook that it meets; workloads have their own addresses.
    """
    own = {
        (resource.spec.interface_name, text.partition("/")[0])
        for resource in resources
        if resource.kind == "WorkloadEndpoint" and resource.spec.node == NODE
        for text in resource.spec.ip_networks
    }
    a, b = flow.numbers
    ends = flow.src, flow.dst, flow.protocol, a, b
    yield Packet("eth0", "", *ends), Hook.INPUT
    yield Packet("", "eth0", *ends), Hook.OUTPUT
    yield Packet("eth0", "eth1", *ends), Hook.FORWARD
    for one, mine in sorted(own):
        addr = type(flow.src).parse(mine)
        if addr.family is not flow.family:
            continue
        yield Packet(one, "eth0", addr, flow.dst, flow.protocol, a, b), Hook.FORWARD
        yield Packet("eth0", one, flow.src, addr, flow.protocol, a, b), Hook.FORWARD
        for other, theirs in sorted(own):
            there = type(flow.src).parse(theirs)
            if there.family is flow.family:
                yield Packet(one, other, addr, there, flow.protocol, a, b), Hook.FORWARD


def fate(simulator, sent):
    return simulator.run(*sent).fate


def check_stages(here, there, flows):
    state = NodeState(NODE, {})
    rulesets = []
    for resources in (here, there):
        now = {resource.key: resource for resource in resources}
        for key in state.known - now.keys():
            state.set(key, None)
        for key, resource in now.items():
            state.set(key, resource)
        rulesets.append(state.intent().ruleset)
    before, after = rulesets
    sent = [packet for flow in flows for packet in ways([*here, *there], flow)]
    old, new = Simulator(before), Simulator(after)
    allowed = [{fate(old, packet), fate(new, packet)} for packet in sent]
    kernel = Kernel(before, after)
    kernel.table.apply(before.text)
    for number, transaction in enumerate(stages(before, after)):
        kernel.table.apply(transaction)
        now = Simulator(kernel.ruleset())
        for packet, fates in zip(sent, allowed, strict=True):
            assert fate(now, packet) in fates, (number, packet)


@SOME
@given(clusters(), clusters(), st.lists(packets(), min_size=4, max_size=8))
def test_from_any_cluster_to_any_other(here, there, flows):
    check_stages(here, there, flows)


@SOME
@given(clusters(), clusters(), st.data(), st.lists(packets(), min_size=4, max_size=8))
def test_when_a_few_objects_change(here, there, data, flows):
    chosen = data.draw(st.lists(st.sampled_from(there), min_size=1, max_size=4))
    changed = {resource.key: resource for resource in here} | {r.key: r for r in chosen}
    check_stages(here, list(changed.values()), flows)


WORDS = st.sampled_from(("Allowed", "Refused"))


@st.composite
def accesses(draw):
    """The settings of Azure's own addresses."""
    spec = {"koratPodsToWireserver": draw(WORDS), "koratPodsToInstanceMetadata": draw(WORDS)}
    return FelixConfiguration(metadata=Metadata(name="default"), spec=spec)


@SOME
@given(clusters(), accesses(), accesses(), packets())
def test_when_access_to_azures_own_addresses_changes(here, before, after, flow):
    asked = ((service, port) for service in (WIRESERVER, INSTANCE_METADATA) for port in (53, 80))
    source = type(flow.src).parse("10.0.0.1")
    flows = [
        replace(flow, src=source, dst=service.address, protocol=6, sport=1000, dport=port)
        for service, port in asked
    ]
    check_stages([*here, before], [*here, after], flows)

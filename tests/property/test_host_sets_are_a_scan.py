"""Law: as others come, change and go, the sets that host policy asks hold whom a scan finds.

A host endpoint and the policy that asks stay; owners of addresses and the labels that namespaces
lend change a few at a time. The policy's rules stay the same objects, what was handed out before
stays what it was, and the transactions lead to the table of a fresh start.
"""

from hypothesis import event, given
from hypothesis import strategies as st
from msgspec.structs import replace

from host_world import membership
from korat.agent.intent import NodeState, intent
from korat.core.model.policy import ServiceMatch
from korat.core.policy.cluster import Cluster
from korat.core.render.nft.diff import stages
from nft_transaction import Table
from policy_world import allow, deny, host, policy, who
from strategies_policy import (
    NODE,
    PORT_NAMES,
    SELECTORS,
    SERVICES,
    Dealer,
    clusters,
    dealers,
)

ETH0 = host("eth0", role="host")


def asking(dealer: Dealer):
    """A policy of eth0 that asks who has an address in every way that there is."""
    ends = [
        *(who(selector=each) for each in dealer.few(SELECTORS, 3)),
        who(services=ServiceMatch(name=dealer.one(SERVICES), namespace="red")),
        who(selector=dealer.one(SELECTORS), ports=list(dealer.few(PORT_NAMES))),
    ]
    ingress = [deny(end) for end in (*ends, who(not_ports=[dealer.one(PORT_NAMES)]))]
    egress = [allow(None, end) for end in (*ends, who(not_selector=dealer.one(SELECTORS)))]
    return policy("asking", namespace="", selector="role == 'host'", ingress=ingress, egress=egress)


def elsewhere(world):
    """Who has addresses or lends labels in a world, none of them on this node, by key."""
    found = {}
    for each in world:
        match each.kind:
            case "WorkloadEndpoint":
                found[each.key] = replace(each, spec=replace(each.spec, node="there"))
            case "Profile":
                spec = replace(each.spec, ingress=(), egress=())
                found[each.key] = replace(each, spec=spec)
            case "NetworkSet" | "GlobalNetworkSet" | "EndpointSlice":
                found[each.key] = each
    return found


def changes(dealer: Dealer, there, other):
    """A few come, change to what they are in another world, or go; or labels that are lent do."""
    known = there | other
    lending = [key for key in known if key.kind == "Profile"]
    if lending and dealer.chance(20):
        key = dealer.one(sorted(lending))
        lent = {**known[key].spec.labels_to_apply, "app": dealer.one("xyz")}
        return {key: replace(known[key], spec=replace(known[key].spec, labels_to_apply=lent))}
    chosen = dealer.few(sorted(known), 3) if known else ()
    return {key: None if key in there and dealer.chance(40) else known[key] for key in chosen}


@given(dealers, clusters(), st.lists(clusters(), min_size=2, max_size=4))
def test_the_sets_are_a_scan_change_by_change(dealer, begun, others):
    fixed = {each.key: each for each in (ETH0, asking(dealer))}
    there = elsewhere(begun)
    state = NodeState(NODE, {})
    for key, each in (fixed | there).items():
        state.set(key, each)
    found, kernel = state.intent(), Table()
    kernel.apply(found.ruleset.text)
    handed_out = []
    for world in others:
        for key, each in changes(dealer, there, elsewhere(world)).items():
            state.set(key, each)
            there = {k: v for k, v in (there | {key: each}).items() if v is not None}
        before, found = found, state.intent()
        scanned = membership(Cluster.build([*fixed.values(), *there.values()]), found.own.sequences)
        assert found.own.members == scanned
        assert found.own.sequences is before.own.sequences
        for transaction in stages(before.ruleset, found.ruleset):
            kernel.apply(transaction)
        fresh = Table()
        fresh.apply(intent(fixed | there, NODE, {}).ruleset.text)
        assert kernel == fresh
        handed_out.append((found.own.members, scanned))
        event(f"the same rules {found.own.rules is before.own.rules}")
        event(f"others in the sets {found.own.members is not before.own.members}")
    assert all(members == as_scanned for members, as_scanned in handed_out)

"""The chains of host endpoints: when there are any, and what the kernel would say of them."""

import pytest

from host_world import host_input
from korat.core.model.felix import FelixSettings
from korat.core.policy.cluster import Cluster
from korat.core.policy.host import HostInterface
from korat.core.render.nft.check import RefusedError, check
from korat.core.render.nft.node import NodeInput, render
from korat.core.render.nft.ruleset import Base, Chain, Hook, Ruleset, rule
from korat.core.render.nft.track import NoTrack
from korat.core.table.compile import compile_node
from policy_world import NODE, allow, deny, host, open_namespace, pod, policy

PAIR = (open_namespace("red"), pod("1", "10.0.0.1"))
RULES = policy("p", namespace="", ingress=[allow()], egress=[deny()])


def rendered(*resources, felix=None):
    felix = felix or FelixSettings()
    cluster = Cluster.build([*PAIR, *resources])
    own = host_input(cluster, NODE, (HostInterface("eth0", frozenset()),), felix)
    return render(NodeInput(compile_node(cluster, NODE), felix, own=own))


def bases(ruleset):
    return {name for name, chain in ruleset.chains.items() if chain.base}


def test_a_node_without_host_endpoints_pays_nothing_for_its_own_traffic():
    plain = rendered(RULES, host("eth0", node="there"))
    assert bases(plain) == {"prerouting", "forward", "input"}
    assert "meta mark" not in plain.text


def test_untracked_and_pre_dnat_hooks_are_there_for_policies_alone():
    assert "host-pre-dnat" not in bases(rendered(RULES, host("eth0")))
    assert "notrack" not in rendered(RULES, host("eth0")).text
    switched = policy("d", namespace="", pre_dnat=True, apply_on_forward=True, ingress=[allow()])
    assert "host-pre-dnat" in bases(rendered(switched, host("eth0")))


def test_where_a_reject_would_be_refused_the_packet_is_dropped():
    felix = FelixSettings(nftables_filter_deny_action="Reject")
    ruleset = rendered(RULES, host("eth0"), felix=felix)
    check(ruleset)
    late = [n for n in ruleset.chains if n.startswith("deny-") and n.endswith("-dropped")]
    assert late
    assert all("reject" not in ruleset.chains[n].rules[-1].text for n in late)


def test_notrack_after_tracking_is_refused():
    late = Ruleset({}, {"c": Chain((rule(NoTrack()),), Base("filter", Hook.PREROUTING, -150))})
    with pytest.raises(RefusedError, match="notrack after tracking"):
        check(late)
    check(Ruleset({}, {"c": Chain((rule(NoTrack()),), Base("filter", Hook.PREROUTING, -300))}))

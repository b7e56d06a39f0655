"""Automatic host endpoints: what a node's looks like, and who is left alone."""

from msgspec.structs import replace

from korat.core.model.auto_host import auto_host, auto_hosts
from korat.core.model.endpoint import Node, NodeAddress, NodeBgp, NodeInterface, NodeSpec
from korat.core.model.resource import Metadata
from korat.core.model.validate.object import validate

LABEL = {"projectcalico.org/created-by": "calico-kube-controllers"}


def node(name="vm1", **labels):
    return Node(
        metadata=Metadata(name=name, labels=labels),
        spec=NodeSpec(
            bgp=NodeBgp(ipv4_address="10.0.0.4/24", ipv6_address="fd00::4/64"),
            ipv4_vxlan_tunnel_addr="10.10.0.1",
            addresses=(
                NodeAddress("10.0.0.4", "InternalIP"),
                NodeAddress("10.0.0.5", "InternalIP"),
                NodeAddress("20.0.0.4", "ExternalIP"),
                NodeAddress("vm1.example", "InternalIP"),
            ),
            interfaces=(NodeInterface("eth1", ("10.9.0.4",)),),
        ),
    )


def test_a_nodes_automatic_host_endpoint_is_calicos():
    made = auto_host(node(zone="a"))
    assert made.metadata.name == "vm1-auto-hep"
    assert made.metadata.labels == {"zone": "a", **LABEL}
    assert made.spec.node == "vm1"
    assert made.spec.interface_name == "*"
    assert made.spec.profiles == ("projectcalico-default-allow",)
    assert made.spec.expected_ips == ("10.0.0.4", "fd00::4", "10.10.0.1", "10.0.0.5", "10.9.0.4")
    assert validate(made) == []


def test_created_updated_and_removed_with_the_node():
    made = auto_host(node())
    assert auto_hosts([node()], [], enabled=True).create == (made,)
    assert auto_hosts([node()], [made], enabled=True).empty
    (changed,) = auto_hosts([node(zone="b")], [made], enabled=True).update
    assert changed.metadata.labels == {"zone": "b", **LABEL}
    assert auto_hosts([], [made], enabled=True).delete == (made,)
    assert auto_hosts([node()], [made], enabled=False).delete == (made,)


def test_what_users_wrote_stays():
    own = replace(auto_host(node()), metadata=Metadata(name="vm1-auto-hep"))
    other = replace(own, metadata=Metadata(name="other"))
    plan = auto_hosts([node()], [own, other], enabled=True)
    assert plan.empty
    assert [problem.where for problem in plan.problems] == ["HostEndpoint vm1-auto-hep"]
    assert auto_hosts([], [own, other], enabled=False).empty


def test_profiles_that_a_user_gave_it_stay():
    made = auto_host(node())
    own = replace(made, spec=replace(made.spec, profiles=("closed",)))
    assert auto_hosts([node()], [own], enabled=True).empty

"""Automatic host endpoints: what a node's looks like, what templates make, who is left alone."""

from msgspec.structs import replace

from korat.core.model.auto_host import auto_host, auto_hosts
from korat.core.model.controllers import AutoHostEndpoint, HostTemplate
from korat.core.model.endpoint import Node, NodeAddress, NodeBgp, NodeInterface, NodeSpec
from korat.core.model.resource import Metadata
from korat.core.model.validate.object import validate

ON, OFF = AutoHostEndpoint(auto_create="Enabled"), AutoHostEndpoint()
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
    assert auto_hosts([node()], [], ON).create == (made,)
    assert auto_hosts([node()], [made], ON).empty
    (changed,) = auto_hosts([node(zone="b")], [made], ON).update
    assert changed.metadata.labels == {"zone": "b", **LABEL}
    assert auto_hosts([], [made], ON).delete == (made,)
    assert auto_hosts([node()], [made], OFF).delete == (made,)


def test_what_users_wrote_stays():
    own = replace(auto_host(node()), metadata=Metadata(name="vm1-auto-hep"))
    other = replace(own, metadata=Metadata(name="other"))
    plan = auto_hosts([node()], [own, other], ON)
    assert plan.empty
    assert [problem.where for problem in plan.problems] == ["HostEndpoint vm1-auto-hep"]
    assert auto_hosts([], [own, other], OFF).empty


def test_profiles_that_a_user_gave_it_stay():
    made = auto_host(node())
    own = replace(made, spec=replace(made.spec, profiles=("closed",)))
    assert auto_hosts([node()], [own], ON).empty


def made_by(*templates, of=None, default="Disabled"):
    settings = AutoHostEndpoint("Enabled", default, templates)
    plan = auto_hosts([of or node(zone="a")], [], settings)
    assert all(validate(host) == [] for host in plan.create)
    return {host.metadata.name: host for host in plan.create}, plan.problems


def test_a_template_with_cidrs_makes_one_for_the_addresses_within():
    template = HostTemplate(
        "lan",
        ("10.0.0.0/24", "fd00::/16"),
        labels={"zone": "b", "role": "host"},
        annotations={"note": "any value!"},
        node_selector="zone == 'a'",
    )
    made, problems = made_by(template)
    assert problems == ()
    (host,) = made.values()
    assert host.metadata.name == "vm1-lan-auto-hep"
    assert host.metadata.labels == {"zone": "b", "role": "host", **LABEL}
    assert host.metadata.annotations == {"note": "any value!"}
    assert host.spec.interface_name == ""
    assert host.spec.expected_ips == ("10.0.0.4", "fd00::4", "10.0.0.5")
    assert host.spec.profiles == ("projectcalico-default-allow",)
    assert made_by(template, of=node(zone="c")) == ({}, ())
    assert made_by(replace(template, interface_cidrs=("192.0.2.0/24",))) == ({}, ())
    assert set(made_by(template, default="")[0]) == {"vm1-auto-hep", "vm1-lan-auto-hep"}


def test_a_template_with_a_pattern_makes_one_for_each_interface():
    interfaces = tuple(
        NodeInterface(name, addresses)
        for name, addresses in (("eth0", ("10.0.0.4",)), ("myeth1", ()), ("lo", ("127.0.0.1",)))
    )
    bare = node()
    many = replace(bare, spec=replace(bare.spec, interfaces=interfaces))
    made, _ = made_by(HostTemplate("if", interface_pattern="eth[0-9]"), of=many)
    assert {name: (h.spec.interface_name, h.spec.expected_ips) for name, h in made.items()} == {
        "vm1-if-eth0-auto-hep": ("eth0", ("10.0.0.4",)),
        "vm1-if-myeth1-auto-hep": ("myeth1", ()),
    }
    both = HostTemplate("if", ("10.10.0.0/16",), "^eth0$")
    (host,) = made_by(both, of=many)[0].values()
    assert host.spec.expected_ips == ("10.10.0.1", "10.0.0.4")


def test_a_template_that_goes_takes_its_host_endpoints_with_it():
    settings = AutoHostEndpoint("Enabled", "Disabled", (HostTemplate("lan", ("10.0.0.0/8",)),))
    (host,) = auto_hosts([node()], [], settings).create
    assert auto_hosts([node()], [host], settings).empty
    plan = auto_hosts([node()], [host], ON)
    assert plan.delete == (host,)
    assert [each.metadata.name for each in plan.create] == ["vm1-auto-hep"]
    noted = HostTemplate("lan", ("10.0.0.0/8",), annotations={"a": "b"})
    (changed,) = auto_hosts([node()], [host], replace(settings, templates=(noted,))).update
    assert changed.metadata.annotations == {"a": "b"}


def test_what_a_template_cannot_make_is_named():
    wrong = (
        HostTemplate("one", node_selector="has("),
        HostTemplate("two", interface_pattern="eth["),
        HostTemplate("", interface_pattern="eth"),
        HostTemplate("", ("10.0.0.0/8",)),
    )
    made, problems = made_by(*wrong, default="")
    assert list(made) == ["vm1-auto-hep"]
    assert [problem.where for problem in problems] == [
        "template one of automatic host endpoints",
        "template two of automatic host endpoints",
        "template 2 of automatic host endpoints",
        "HostEndpoint vm1-auto-hep",
    ]


def test_a_name_that_would_be_too_long_is_a_digest():
    long = replace(node(), metadata=Metadata(name="n" * 250))
    made, _ = made_by(default="", of=long)
    # Go: base64.RawURLEncoding of sha256, without "-" and "_", in lower case.
    (name,) = made
    assert name.endswith("-auto-hep")
    assert 40 <= len(name) <= 52

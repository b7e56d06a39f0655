"""What of a cluster reaches a node, and how little of it changes when the cluster does."""

from korat.core.net.address import Addr, Family
from korat.core.policy.cluster import Cluster
from korat.core.policy.outcome import Action, Direction
from korat.core.table.compile import compile_node
from korat.core.table.value import NOBODY
from policy_world import (
    NODE,
    address_set,
    allow,
    judged,
    open_namespace,
    packet,
    pod,
    policy,
    profile,
    rule,
    who,
)

WEB = pod("web", "10.0.0.1", app="web")
FROM_DB = policy("db", selector="app == 'web'", ingress=[allow(who(selector="app == 'db'"))])
BASE = [open_namespace("red"), open_namespace("blue"), WEB, FROM_DB]


def ingress(resources, family=Family.V4):
    return compile_node(Cluster.build(resources), NODE).directions[family, Direction.INGRESS]


def place(text):
    """An address as the maps of the kernel have it."""
    return (Addr.parse(text).value,)


def far(name, *ips, **labels):
    """A pod on another node."""
    return pod(name, *ips, node="there", **labels)


def test_a_pod_that_comes_is_one_address_of_a_class():
    before = ingress([*BASE, far("a", "10.0.0.2", app="db")])
    after = ingress([*BASE, far("a", "10.0.0.2", app="db"), far("b", "10.0.0.3", app="db")])
    assert after.tables == before.tables
    new = dict(after.classes.hosts.items() - before.classes.hosts.items())
    assert new == {place("10.0.0.3"): before.classes.hosts[place("10.0.0.2")]}


def test_an_address_of_which_nothing_is_asked_has_no_entry():
    lookups = ingress([*BASE, far("c", "10.0.0.4", app="other"), address_set("s", "192.0.2.0/24")])
    assert lookups.classes.hosts == {}
    assert lookups.classes.nets == ()


def test_policies_of_other_nodes_split_nothing():
    elsewhere = policy("x", namespace="blue", ingress=[allow(who(namespace_selector="all()"))])
    others = [far("a", "10.0.0.2", app="db"), far("z", "10.0.0.9", namespace="blue")]
    assert ingress([*BASE, *others, elsewhere]) == ingress([*BASE, *others])


def test_a_class_keeps_its_number_when_unrelated_policy_comes():
    others = [far("a", "10.0.0.2", app="db"), far("z", "10.0.0.9", app="api")]
    more = policy("api", selector="app == 'web'", ingress=[allow(who(selector="app == 'api'"))])
    before, after = ingress([*BASE, *others]).classes, ingress([*BASE, *others, more]).classes
    database = Addr.parse("10.0.0.2")
    assert before.class_of(database) == after.class_of(database) != NOBODY
    assert after.class_of(Addr.parse("10.0.0.9")) not in (NOBODY, after.class_of(database))


def test_a_host_inside_a_net_inherits_it():
    both = policy("net", selector="app == 'web'", ingress=[allow(who(nets=["10.0.0.0/24"]))])
    lookups = ingress([*BASE, both, far("a", "10.0.0.2", app="db"), far("c", "10.0.0.4")])
    hosts = [Addr.parse(f"10.0.0.{n}") for n in (2, 4, 5)]
    database, other, stranger = map(lookups.classes.class_of, hosts)
    assert database != other == stranger != NOBODY
    # The web pod itself and the unlabelled one are like their net and need no entry.
    assert set(lookups.classes.hosts) == {(hosts[0].value,)}


def test_single_addresses_are_hosts_not_nets():
    lone = policy("one", selector="app == 'web'", ingress=[allow(who(nets=["192.0.2.1/32"]))])
    lookups = ingress([*BASE, lone, address_set("s", "192.0.2.9", namespace="red", app="db")])
    assert set(lookups.classes.hosts) == {place("192.0.2.1"), place("192.0.2.9")}
    assert lookups.classes.nets == ()


def test_each_family_has_its_own_addresses_only():
    peers = who(nets=["10.1.0.0/16", "fd01::/16"])
    world = [*BASE, pod("web6", "fd00::1", app="web"), far("db", "10.0.0.2", "fd00::2", app="db")]
    world.append(policy("n", selector="app == 'web'", ingress=[allow(peers)]))
    world.append(address_set("s", "10.2.0.0/16", "fd02::/16", namespace="red", app="db"))
    for family, host, nets in (
        (Family.V4, "10.0.0.2", ["10.1.0.0", "10.2.0.0"]),
        (Family.V6, "fd00::2", ["fd01::", "fd02::"]),
    ):
        classes = ingress(world, family).classes
        assert list(classes.hosts) == [place(host)]
        assert [str(Addr(family, net[0])) for net in classes.nets] == nets


def test_touching_nets_of_one_class_are_one():
    halves = who(nets=["192.0.2.0/25", "192.0.2.128/25"])
    lookups = ingress([*BASE, policy("n", selector="app == 'web'", ingress=[allow(halves)])])
    ((first, last, _),) = lookups.classes.nets
    assert (first, last) == (Addr.parse("192.0.2.0").value, Addr.parse("192.0.2.255").value)


def test_what_only_the_other_direction_asks_splits_nothing():
    whole = policy("i", selector="app == 'web'", ingress=[allow(who(nets=["192.0.2.0/24"]))])
    half = policy("e", selector="app == 'web'", egress=[allow(None, who(nets=["192.0.2.0/25"]))])
    lookups = ingress([*BASE, whole, half])
    ((first, last, _),) = lookups.classes.nets
    assert (first, last) == (Addr.parse("192.0.2.0").value, Addr.parse("192.0.2.255").value)


def test_equal_tables_are_one_object_across_endpoints_and_policies():
    twins = [pod(f"t{n}", f"10.0.1.{n}", namespace="blue") for n in range(3)]
    lookups = ingress([*BASE, *twins])
    tables = {id(lookups.tables[NOBODY, f"cali-t{n}"]) for n in range(3)}
    assert len(tables) == 1


def test_only_interfaces_with_an_address_of_the_family_have_tables():
    both = pod("both", "10.0.0.7", "fd00::7")
    assert {i for _, i in ingress([*BASE, both]).tables} == {"cali-web", "cali-both"}
    assert {i for _, i in ingress([*BASE, both], Family.V6).tables} == {"cali-both"}


def test_local_endpoints_are_this_nodes_with_an_interface():
    spec = WEB.spec
    nameless = type(WEB)(
        metadata=WEB.metadata, spec=type(spec)(node=NODE, ip_networks=("10.9.9.9",))
    )
    compiled = compile_node(Cluster.build([far("a", "10.0.0.2"), nameless]), NODE)
    assert compiled.endpoints == ()
    compiled = compile_node(Cluster.build(BASE), NODE)
    assert [(e.interface, str(e.addresses[0])) for e in compiled.endpoints] == [
        ("cali-web", "10.0.0.1")
    ]


def test_of_two_endpoints_on_one_interface_the_first_by_key_has_it():
    other = type(WEB)(metadata=type(WEB.metadata)(name="aaa", namespace="red"), spec=WEB.spec)
    compiled = compile_node(Cluster.build([WEB, other]), NODE)
    assert [endpoint.key.name for endpoint in compiled.endpoints] == ["aaa"]


def test_where_policy_tells_own_addresses_apart_all_must_be_allowed():
    two = pod("two", "10.0.0.1", "10.0.0.2", app="two")
    lone = policy(
        selector="app == 'two'",
        ingress=[
            allow(None, who(nets=["10.0.0.1/32"], ports=["79:80"]), protocol="TCP"),
            allow(None, who(nets=["10.0.0.2/32"], ports=["80:81"]), protocol="TCP"),
        ],
    )
    table = ingress([open_namespace("red"), two, lone]).tables[NOBODY, "cali-two"]
    verdicts = {port: table.lookup(6, 1, port).action for port in (78, 79, 80, 81, 82)}
    assert [port for port, action in verdicts.items() if action is Action.ALLOW] == [80]
    assert len(table.cells(6)) == 3


def test_source_ports_cut_the_plane_only_where_they_are_asked():
    ntp = who(ports=[123])
    lone = policy(selector="app == 'web'", ingress=[allow(ntp, ntp, protocol="UDP")])
    table = ingress([open_namespace("red"), WEB, lone]).tables[NOBODY, "cali-web"]
    ((protocol, cells),) = table.protocols
    assert protocol == 17
    assert [cell[:4] for cell in cells] == [
        (0, 122, 0, 65535),
        (123, 123, 0, 122),
        (123, 123, 123, 123),
        (123, 123, 124, 65535),
        (124, 65535, 0, 65535),
    ]


def test_logs_split_cells_that_are_decided_alike():
    lone = policy(ingress=[rule("Log", None, who(ports=[80]), protocol="TCP"), allow()])
    table = ingress([open_namespace("red"), WEB, lone]).tables[NOBODY, "cali-web"]
    assert [(c.b_first, len(c.outcome.logs)) for c in table.cells(6)] == [(0, 0), (80, 1), (81, 0)]


def test_endpoints_that_share_an_address_are_asked_one_by_one_but_excluded_together():
    shared = [far("a", "10.0.0.2", app="db"), far("b", "10.0.0.2", app="ops")]
    sent = packet("10.0.0.2", "10.0.0.1")
    world = [open_namespace("red"), WEB, *shared]

    def lets_in(source, namespace):
        asked = policy(namespace=namespace, selector="app == 'web'", ingress=[allow(source)])
        return judged([*world, asked], Direction.INGRESS, sent).action is Action.ALLOW

    # ``a`` alone is what the selectors ask for; that ``b`` has its address too takes nothing away.
    assert lets_in(who(selector="app == 'db'", not_selector="app == 'ops'"), "red")
    assert lets_in(who(not_selector="app == 'ops'"), "red")
    assert not lets_in(who(selector="app == 'db' && app == 'ops'"), "")
    assert not lets_in(who(not_selector="app == 'ops'"), "")


def test_an_endpoint_is_judged_for_itself_when_it_talks_to_itself():
    talk = policy(
        selector="app == 'web'",
        ingress=[allow(who(selector="app == 'web'"))],
        egress=[allow(None, who(selector="app == 'web'"))],
    )
    world = [open_namespace("red"), profile("unused"), WEB, talk]
    sent = packet("10.0.0.1", "10.0.0.1")
    for direction in Direction:
        assert judged(world, direction, sent).action is Action.ALLOW

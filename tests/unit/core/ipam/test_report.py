"""What a check finds, each fault once, and what the collector makes of it."""

import pytest
from msgspec.structs import replace

from ipam_world import World, at
from korat.core.ipam.assign import auto_assign
from korat.core.ipam.collect import Ledger, Rules, plan
from korat.core.ipam.draw import Holder
from korat.core.ipam.handle import raise_count
from korat.core.ipam.living import allocations_in, living, why_leaked
from korat.core.ipam.release import release_ips
from korat.core.ipam.report import Fault, report
from korat.core.ipam.tunnel import Tunnel, ensure_tunnel
from korat.core.ipam.view import Demand
from korat.core.model.codec import dump, resource_of
from korat.core.model.key import Key
from korat.core.model.kubernetes import decode_any
from korat.core.net.address import Addr, Family, Prefix

GRACE_S = 900
RULES = Rules(grace_s=GRACE_S)


@pytest.fixture
def world():
    own = World()
    own.pool(cidr="10.0.0.0/24", blockSize=30)
    own.put("Node", "n1")
    return own


def everything(world):
    return [resource_of(record) for record in world.store.list().records]


def found(world):
    objects = everything(world)
    return report(objects, living(objects))


def faults(world):
    return [(finding.fault.name, finding.where) for finding in found(world).findings]


def pod(world, name="p", ip="", node="n1", **fields):
    """A pod that was given an address, and, with ``ip``, has it."""
    status = {"podIP": ip} if ip else {}
    raw = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"nodeName": node, "containers": [{"name": "c"}]},
        "status": {**status, **fields},
    }
    (resource,) = decode_any(raw)
    return world.store.create(resource.key, dump(resource))


def give(world, name="p", host="n1"):
    attributes = {"node": host, "namespace": "shop", "pod": name}
    demand = Demand(host, Family.V4, 1, Holder(f"net.{name}", attributes))
    return str(world.run(auto_assign(demand, world.now)).given[0].addr)


def test_a_sound_cluster_has_no_finding(world):
    addr = give(world)
    pod(world, ip=addr)
    done = found(world)
    assert done.findings == ()
    assert (done.blocks, done.allocations, done.handles, done.users) == (1, 1, 1, 1)


def test_a_pod_that_has_not_told_its_address_yet_is_no_leak(world):
    give(world)
    pod(world)
    assert faults(world) == []


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda _: None, "of handle net.p: there is no pod shop/p any more"),
        (
            lambda world: pod(world, ip="10.0.0.250", node="n2"),
            "of handle net.p: pod shop/p runs on n2, not on n1",
        ),
        (
            lambda world: pod(world, ip="10.9.0.250"),
            "of handle net.p: pod shop/p has 10.9.0.250",
        ),
        (
            lambda world: pod(world, phase="Failed"),
            "of handle net.p: pod shop/p has no address any more",
        ),
    ],
)
def test_leaks_have_their_reason(world, make, reason):
    addr = give(world)
    make(world)
    (finding,) = [f for f in found(world).findings if f.fault is Fault.LEAKED]
    assert (finding.where, finding.reason) == (addr, reason)
    assert finding.remedy


def test_addresses_are_compared_as_numbers(world):
    """IPv6 has several spellings of one address."""
    world.pool("six", "fd00::/120", 126)
    (addr,) = world.addresses(handle="net.p", family=Family.V6)
    long = ":".join(
        f"{Addr.parse(addr).value >> shift & 0xFFFF:04x}" for shift in range(112, -1, -16)
    )
    pod(world, ip=long)
    assert long != addr
    assert faults(world) == []


def test_an_address_of_another_hosts_block_is_borrowed():
    """What routes and metrics have to know of it."""
    world = World()
    world.pool(cidr="10.0.0.0/29", blockSize=30)
    world.assign(host="n1", number=1)
    world.assign(host="n2", number=1)
    world.assign(host="n1", number=5)
    given = [a for block in world.objects("IPAMBlock") for a in allocations_in(block)]
    borrowed = [(a.node, a.owner) for a in given if a.is_borrowed]
    assert borrowed == [("n1", "host:n2")] * 2


def test_a_tunnel_address_is_valid_while_its_node_is_there(world):
    world.pool("v", "10.1.0.0/24", vxlanMode="Always")
    addr = str(world.run(ensure_tunnel(Tunnel.VXLAN, "n1", None, world.now)).addr)
    (finding,) = found(world).findings
    assert finding.reason.endswith("node n1 does not say that it has it")
    world.store.delete(Key("Node", "", "n1"))
    world.put("Node", "n1", {"ipv4VXLANTunnelAddr": addr})
    assert faults(world) == []
    world.store.delete(Key("Node", "", "n1"))
    assert ("LEAKED", addr) in faults(world)
    assert "whose tunnel address it was, is gone" in found(world).findings[0].reason


def test_users_without_an_allocation(world):
    pod(world, "free", ip="10.0.0.9")
    pod(world, "out", ip="192.0.2.1")
    assert faults(world) == [("NOT_ALLOCATED", "10.0.0.9"), ("OUTSIDE", "192.0.2.1")]


def endpoint(world, name, ip):
    spec = {
        "node": "n1",
        "orchestrator": "k8s",
        "pod": name,
        "endpoint": "eth0",
        "interfaceName": "cali12345678901",
        "ipNetworks": [f"{ip}/32"],
    }
    return world.put("WorkloadEndpoint", f"n1-k8s-{name}-eth0", spec, namespace="shop")


def test_an_address_of_two_endpoints(world):
    addr = give(world)
    pod(world, ip=addr)
    endpoint(world, "p", addr)
    assert faults(world) == []
    endpoint(world, "q", addr)
    assert faults(world) == [("DUPLICATE", addr)]


def test_blocks_that_no_pool_has(world):
    addr = give(world)
    pod(world, ip=addr)
    world.store.delete(Key("IPPool", "", "pool"))
    (finding,) = found(world).findings
    assert finding.fault is Fault.HOMELESS
    assert "lies in no pool; 1 addresses" in finding.reason
    world.pool(cidr="10.0.0.0/24", blockSize=28)
    (finding,) = found(world).findings
    assert "is none of pool pool, which has blocks of /28" in finding.reason


def block(world, cidr, **spec):
    prefix = Prefix.parse(cidr)
    size = 1 << (32 - prefix.length)
    whole = {
        "cidr": cidr,
        "allocations": [None] * size,
        "unallocated": list(range(size)),
        **spec,
    }
    return world.put("IPAMBlock", cidr.replace("/", "-"), whole)


def test_blocks_that_overlap(world):
    block(world, "10.0.0.0/30")
    block(world, "10.0.0.0/29")
    (first, second) = found(world).findings
    assert first.fault is Fault.OVERLAP
    assert "overlaps 10.0.0.0/30; they have 0 and 0 addresses" in first.reason
    assert second.fault is Fault.HOMELESS


def test_claims_that_do_not_fit(world):
    world.put("BlockAffinity", "host:n1/10.0.0.0-30")
    world.put("BlockAffinity", "host:n1/10.0.0.4-30", {"state": "pending"})
    world.put("BlockAffinity", "host:n9/10.0.0.8-30")
    block(world, "10.0.0.12/30", affinity="host:n1")
    assert faults(world) == [
        ("STALE", "BlockAffinity host:n1/10.0.0.0-30"),
        ("HALF_DONE", "BlockAffinity host:n1/10.0.0.4-30"),
        ("GONE_NODE", "BlockAffinity host:n9/10.0.0.8-30"),
        ("STALE", "block 10.0.0.12/30"),
    ]


def test_handles_that_count_other_than_there_is(world):
    addr = give(world)
    pod(world, ip=addr)
    cidr = Prefix.parse(world.objects("IPAMBlock")[0].spec.cidr)
    world.run(raise_count("net.p", cidr, 1))
    (finding,) = found(world).findings
    assert (finding.fault, finding.where) == (Fault.HANDLE, "IPAMHandle net.p")
    assert finding.reason == f"counts 2 addresses of block {cidr}, and 1 are there"
    world.store.delete(Key("IPAMHandle", "", "net.p"))
    assert "counts 0 addresses" in found(world).findings[0].reason


def test_a_block_that_contradicts_itself(world):
    record = block(world, "10.0.0.0/30")
    broken = resource_of(record)
    spec = replace(broken.spec, unallocated=(0, 1))
    world.store.update(record.key, dump(replace(broken, spec=spec)), record.revision)
    assert [fault for fault, _ in faults(world)] == ["BROKEN", "BROKEN"]
    assert "is missing, nobody has it" in found(world).findings[0].reason


# The collector.


def planned(world, ledger=None, seconds=0, rules=RULES):
    objects = everything(world)
    return plan(objects, living(objects), ledger or Ledger(), at(seconds), rules)


def addresses(leaks):
    return [str(leak.allocation.addr) for leak in leaks]


def test_a_leak_is_due_after_its_grace_period_and_says_which_allocation(world):
    addr = give(world)
    first = planned(world)
    assert (addresses(first.due), addresses(first.suspects)) == ([], [addr])
    assert addresses(planned(world, first.ledger, GRACE_S - 1).due) == []
    later = planned(world, first.ledger, GRACE_S)
    assert addresses(later.due) == [addr]
    (leak,) = later.due
    assert leak.wanted.handle_id == "net.p"
    # Given back and given out again in between: another allocation, which stays.
    world.release(addr)
    while give(world, "other") != addr:
        pass
    done = world.run(release_ips([leak.wanted], world.now))
    assert done.released == ()
    assert list(map(str, done.refused)) == [addr]


def test_a_leak_that_was_none_in_between_begins_anew(world):
    addr = give(world)
    first = planned(world)
    own = pod(world, ip=addr)
    second = planned(world, first.ledger, 600)
    assert second.ledger.leaks == {}
    world.store.delete(own.key)
    third = planned(world, second.ledger, GRACE_S)
    assert (addresses(third.due), addresses(third.suspects)) == ([], [addr])


def test_without_a_grace_period_only_what_gone_nodes_had_is_due(world):
    give(world)
    never = Rules(grace_s=0)
    first = planned(world, None, 0, never)
    assert planned(world, first.ledger, 10**6, never).due == ()
    world.store.delete(Key("Node", "", "n1"))
    gone = planned(world, None, 0, never)
    assert len(gone.due) == 1
    assert gone.hosts == ("n1",)


def test_a_gone_node_with_somebody_left_is_not_cleared(world):
    pod(world, "alive", ip=give(world, "alive", "n2"), node="n2")
    give(world, "dead", "n2")
    done = planned(world)
    assert done.hosts == ()
    assert done.due == ()
    assert len(done.suspects) == 1


def test_of_a_handle_all_or_none(world):
    """The second address of a pod that has the first one is no leak."""
    first = give(world)
    second = give(world)
    pod(world, ip=first)
    objects = everything(world)
    there = living(objects)
    given = [a for b in world.objects("IPAMBlock") for a in allocations_in(b)]
    assert [bool(why_leaked(a, there)) for a in given] == [False, True]
    assert addresses(planned(world).suspects) == []
    assert second in world.held()


def test_empty_blocks_go_when_they_were_empty_twice_and_one_stays(world):
    for name in "abcde":
        give(world, name)
    for name in "abcde":
        world.release_handle(f"net.{name}")
    assert len(world.names("BlockAffinity")) == 2
    first = planned(world)
    assert first.spare == ()
    second = planned(world, first.ledger)
    assert len(second.spare) == 1
    (spare,) = second.spare
    # Somebody uses it in between, so it is another one now.
    while world.block(str(spare.cidr)).spec.sequence_number == spare.sequence:
        give(world, "f")
    assert planned(world, second.ledger).spare == ()


def test_an_only_block_stays(world):
    give(world)
    world.release_handle("net.p")
    assert planned(world, planned(world).ledger).spare == ()


def test_counts_that_are_off_twice_are_settled_and_resting_addresses_freed(world):
    give(world)
    pod(world)
    (own,) = world.objects("IPAMBlock")
    cidr = Prefix.parse(own.spec.cidr)
    world.run(raise_count("net.p", cidr, 1))
    first = planned(world)
    assert first.miscounts == ()
    (miscount,) = planned(world, first.ledger).miscounts
    assert (miscount.handle_id, miscount.cidr) == ("net.p", cidr)
    world.put("IPAMConfiguration", "default", {"ipCooldownSeconds": 30})
    world.release_handle("net.p")
    resting = Rules(cooldown_s=30)
    assert planned(world, None, 29, resting).rested == ()
    assert planned(world, None, 30, resting).rested == (cidr,)


def test_an_allocation_of_which_nobody_can_tell_is_left_alone(world):
    world.assign(handle="who-knows")
    assert planned(world, None, 0).suspects == ()
    assert faults(world) == [("LEAKED", next(iter(world.held())))]

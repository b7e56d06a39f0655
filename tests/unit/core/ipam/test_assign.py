"""Giving out and taking back in a small cluster: whose, from where, in which order, and why not."""

import pytest

from ipam_steps import Act, Fault
from ipam_world import World, at, made
from korat.core.errors import Conflict, Invalid
from korat.core.ipam.affinity import claim, release_affinity
from korat.core.ipam.assign import assign_all, auto_assign
from korat.core.ipam.assign_ip import Wish, adopt
from korat.core.ipam.draw import Holder
from korat.core.ipam.handle import raise_count, settle
from korat.core.ipam.host import release_host, release_pool
from korat.core.ipam.release import free_rested, release_by_handle
from korat.core.ipam.request import Create, Delete, Read, Update
from korat.core.ipam.setting import Settings, configure
from korat.core.ipam.view import Demand
from korat.core.model.codec import dump
from korat.core.model.ipam import affinity_key
from korat.core.model.key import Key
from korat.core.model.kubernetes import namespace_profile
from korat.core.net.address import Addr, Family, Prefix


@pytest.fixture
def world():
    return World()


def demand(host="n1", number=1, handle="h", **fields):
    family = fields.pop("family", Family.V4)
    return Demand(host, family, number, Holder(handle, {"node": host}), **fields)


def strict(**fields):
    return configure(Settings(strict_affinity=True, **fields))


def recorded(world, operation):
    """The requests of an operation that nothing disturbs, as words."""
    act = Act("recorded", operation)
    words = []
    while not act.is_over:
        match act.request:
            case Read(wanted):
                words.append(("read", len(wanted)))
            case Create(key, _):
                words.append(("create", key.kind))
            case Update(key, _, _):
                words.append(("update", key.kind))
            case Delete(key, _):
                words.append(("delete", key.kind))
        act.step(world.store)
    assert act.error is None
    return words


# Requests.


def test_calicos_order_of_writes_when_a_block_is_claimed(world):
    world.pool()
    words = recorded(world, auto_assign(demand(), world.now))
    assert [each for each in words if each[0] != "read"] == [
        ("create", "BlockAffinity"),
        ("create", "IPAMBlock"),
        ("update", "BlockAffinity"),
        ("create", "IPAMHandle"),
        ("update", "IPAMBlock"),
    ]


def test_an_address_more_costs_three_reads_of_few_objects_and_two_writes(world):
    """However many hosts, blocks and pods there are elsewhere."""
    world.pool(cidr="10.0.0.0/20")
    for host in ("n1", "n2", "n3"):
        world.assign(host=host, number=20, handle=host)
    kinds = []
    act = Act("assign", auto_assign(demand(handle="new"), world.now))
    while not act.is_over:
        if isinstance(act.request, Read):
            kinds += [record.key for record in world.store.list(act.request.wanted).records]
        act.step(world.store)
    assert {key.kind for key in kinds} == {"IPPool", "BlockAffinity", "IPAMBlock"}
    assert {key.name.split("/")[0] for key in kinds if key.kind == "BlockAffinity"} == {"host:n1"}
    assert len([key for key in kinds if key.kind == "IPAMBlock"]) == 2
    words = recorded(world, auto_assign(demand(handle="newer"), world.now))
    assert [word for word, _ in words] == ["read", "read", "read", "create", "update"]


def test_calicos_order_of_writes_when_it_is_given_back(world):
    world.pool()
    world.assign(handle="h")
    world.assign(handle="i")
    words = recorded(world, release_by_handle("h", world.now))
    assert [each for each in words if each[0] != "read"] == [
        ("update", "IPAMBlock"),
        ("delete", "IPAMHandle"),
    ]
    words = recorded(world, release_host("n1"))
    assert [each for each in words if each[0] != "read"] == [
        ("update", "BlockAffinity"),
        ("update", "IPAMBlock"),
        ("delete", "BlockAffinity"),
    ]
    words = recorded(world, release_by_handle("i", world.now))
    assert [each for each in words if each[0] != "read"] == [
        ("delete", "IPAMBlock"),
        ("delete", "IPAMHandle"),
    ]


# Pools.

_MANUAL = (
    "pool d-manual (10.0.3.0/24) gives addresses only to those who ask for it "
    "(assignmentMode Manual)"
)


def test_pools_are_chosen_by_their_selectors_uses_and_mode(world):
    world.put("Node", "n1", labels={"zone": "east"})
    profile = namespace_profile("shop", {"team": "blue"})
    world.store.create(profile.key, dump(profile))
    world.pool("a-off", "10.0.0.0/24", disabled=True)
    world.pool("b-west", "10.0.1.0/24", nodeSelector="zone == 'west'")
    world.pool("c-red", "10.0.2.0/24", namespaceSelector="team == 'red'")
    world.pool("d-manual", "10.0.3.0/24", assignmentMode="Manual")
    world.pool("e-tunnel", "10.0.4.0/24", allowedUses=["Tunnel"])
    short = world.assign(namespace="shop")
    assert short.reasons == (
        "pool a-off (10.0.0.0/24) is disabled",
        "pool b-west (10.0.1.0/24) is not for node n1 (nodeSelector zone == 'west')",
        "pool c-red (10.0.2.0/24) is not for this namespace (namespaceSelector team == 'red')",
        _MANUAL,
        "pool e-tunnel (10.0.4.0/24) is not for Workload addresses (allowedUses)",
    )
    assert short.shortage.startswith("assigned 0 of 1 IPv4 addresses to n1: pool a-off")
    world.pool("f-blue", "10.0.5.0/24", namespaceSelector="team == 'blue'")
    assert world.assign(namespace="shop").given[0].pool == "f-blue"
    assert not world.assign(namespace="other").given


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (("manual",), "manual"),
        (("10.0.1.0/24",), "manual"),
        (("off",), "the requested pool off is disabled"),
        (("none",), "the requested pool none does not exist"),
        (("six",), "the requested pool six is not of IPv4"),
        (("lb",), "the requested pool lb is not for Workload addresses"),
        (("manual", "none"), "the requested pool none does not exist"),
    ],
)
def test_pools_that_are_asked_for_are_used_as_they_are(world, asked, expected):
    """Whatever their selector and mode; by name or CIDR; or nothing is given."""
    world.pool("auto", "10.0.0.0/24")
    world.pool("manual", "10.0.1.0/24", assignmentMode="Manual", nodeSelector="has(nothing)")
    world.pool("off", "10.0.2.0/24", disabled=True)
    world.pool("six", "fd00::/64", 122)
    world.pool("lb", "10.0.3.0/24", allowedUses=["LoadBalancer"])
    done = world.assign(pools=asked)
    assert [given.pool for given in done.given] + list(done.reasons) == [expected]


def test_a_block_goes_when_no_pool_has_it_for_this_node_any_more_and_it_is_empty(world):
    world.pool("old", "10.0.0.0/28", blockSize=30, nodeSelector="!has(moved)")
    node = world.put("Node", "n1")
    kept = world.addresses(number=4, handle="kept")
    world.addresses(number=4, handle="gone")
    world.release_handle("gone")
    assert len(world.names("BlockAffinity")) == 2
    moved = made("Node", "n1", labels={"moved": "yes"})
    world.store.update(node.key, dump(moved), node.revision)
    world.pool("new", "10.1.0.0/24")
    assert world.assign().given[0].pool == "new"
    assert sorted(world.names("BlockAffinity")) == sorted(
        [f"host:n1/{kept[0]}-30", *(n for n in world.names("BlockAffinity") if "10.1" in n)]
    )


# Reservations, limits, borrowing, reclaiming.


def test_reserved_addresses_are_for_those_who_ask(world):
    world.pool(cidr="10.0.0.0/28", blockSize=29)
    world.put("IPReservation", "r", {"reservedCIDRs": ["10.0.0.0/29", "10.0.0.9"]})
    assert len(world.addresses(number=16)) == 7
    assert "10.0.0.9" not in world.held()
    assert world.names("IPAMBlock") == ["10.0.0.8-29"]
    world.assign_ip("10.0.0.9")
    world.assign_ip("10.0.0.1")


@pytest.mark.parametrize(("settings", "asked", "blocks"), [(0, 0, 20), (3, 0, 3), (3, 2, 2)])
def test_a_host_has_20_blocks_at_most_unless_a_setting_or_the_asker_says(
    world, settings, asked, blocks
):
    world.pool(cidr="10.0.0.0/24", blockSize=30)
    world.run(strict(max_blocks_per_host=settings))
    done = world.assign(number=256, max_blocks=asked)
    assert len(done.given) == 4 * blocks
    assert f"the host has {blocks} blocks, and may have {blocks}" in done.shortage


def test_addresses_are_borrowed_when_no_block_is_left(world):
    world.pool(cidr="10.0.0.0/29", blockSize=30)
    world.assign(host="n1")
    world.assign(host="n2")
    assert len(world.addresses(host="n1", number=6, handle="h")) == 6
    done = world.assign(host="n3", number=1)
    assert done.shortage == (
        "assigned 0 of 1 IPv4 addresses to n3: no more free blocks in pool pool (10.0.0.0/29); "
        "no more free addresses in any block of pool pool (10.0.0.0/29)"
    )
    assert sum(world.handles()["h"].values()) == 6
    assert len(world.handles()["h"]) == 2


def test_strict_affinity_forbids_to_borrow(world):
    world.pool(cidr="10.0.0.0/29", blockSize=30)
    world.run(strict())
    world.assign(host="n1", number=5)
    done = world.assign(host="n2")
    assert done.missing == 1
    assert "strictAffinity is true" in done.shortage
    with pytest.raises(Invalid, match="belongs to host:n1, and strictAffinity is true"):
        world.assign_ip(next(str(a) for a in _free(world)), host="n2")


def _free(world):
    held = world.held()
    return [a for a in (Addr(Family.V4, 0x0A000000 + i) for i in range(8)) if str(a) not in held]


def test_without_auto_allocation_no_block_is_claimed(world):
    world.pool()
    world.run(strict(auto_allocate_blocks=False))
    assert "autoAllocateBlocks is false" in world.assign().shortage
    assert world.names("IPAMBlock") == []


def test_an_empty_block_of_another_host_is_taken_after_a_minute(world):
    world.pool(cidr="10.0.0.0/30", blockSize=30)
    world.run(strict())
    world.assign(host="n1", handle="h")
    world.release_handle("h")
    world.now = at(60)
    assert world.assign(host="n2").missing == 1
    world.now = at(61)
    assert len(world.addresses(host="n2")) == 1
    assert world.names("BlockAffinity") == ["host:n2/10.0.0.0-30"]
    assert world.block("10.0.0.0/30").spec.affinity_claim_time == "2026-01-02T03:05:06Z"


def test_a_block_that_was_used_in_between_is_not_taken(world):
    world.pool(cidr="10.0.0.0/30", blockSize=30)
    world.run(strict())
    world.assign(host="n1", handle="h")
    world.release_handle("h")
    world.now = at(100)
    act = Act("assign", auto_assign(demand("n2"), world.now))
    while not (isinstance(act.request, Update) and act.request.key.kind == "BlockAffinity"):
        act.step(world.store)
    act.step(world.store)
    assert world.addresses(host="n1") == ["10.0.0.1"]
    act.finish(world.store)
    assert act.result.missing == 1
    (affinity,) = world.objects("BlockAffinity")
    assert affinity.spec.owner == "host:n1"
    assert affinity.spec.is_confirmed


# Both families.


def test_ipv6_is_the_same(world):
    world.pool("six", "fd00::/120", 126)
    assert world.addresses(family=Family.V6, number=2, handle="h") == sorted(world.held())
    assert world.assign(family=Family.V4).reasons == ("there is no IPv4 pool",)
    (name,) = world.names("IPAMBlock")
    assert Prefix.parse(name.replace("-", "/")).length == 126


def test_blocks_of_single_addresses(world):
    world.pool(cidr="10.0.0.0/30", blockSize=32)
    assert sorted(world.addresses(number=4)) == [f"10.0.0.{i}" for i in range(4)]


def test_a_pod_of_two_families_has_both_or_none(world):
    world.pool()
    six = world.pool("six", "fd00::/126", 126)
    both = (demand(handle="p"), demand(handle="p", family=Family.V6))
    assert [done.missing for done in world.run(assign_all(both, world.now))] == [0, 0]
    world.assign(number=3, family=Family.V6, handle="rest")
    more = (demand(handle="q"), demand(handle="q", family=Family.V6))
    assert [done.missing for done in world.run(assign_all(more, world.now))] == [0, 1]
    assert "q" not in world.handles()
    assert len(world.held()) == 5
    assert world.store.list([six.key]).records


# By address.


def test_an_address_by_name(world):
    world.pool("manual", assignmentMode="Manual")
    world.assign_ip("10.0.0.77", handle="h")
    assert world.held() == {"10.0.0.77": "h"}
    assert world.names("BlockAffinity") == ["host:n1/10.0.0.64-28"]
    with pytest.raises(Conflict, match=r"10.0.0.77 is already assigned to h"):
        world.assign_ip("10.0.0.77", host="n2")
    with pytest.raises(Invalid, match="no enabled pool has it"):
        world.assign_ip("10.1.0.1")
    world.assign_ip("10.0.0.78", host="n2")
    assert world.names("BlockAffinity") == ["host:n1/10.0.0.64-28"]


def test_an_address_by_name_lies_in_the_block_that_is_there(world):
    world.pool(blockSize=28)
    world.assign_ip("10.0.0.77")
    world.store.delete(Key("IPPool", "", "pool"))
    world.pool("anew", blockSize=30)
    assert str(world.assign_ip("10.0.0.78")) == "10.0.0.64/28"


def test_addresses_of_host_local_are_taken_up(world):
    """Twice: a migration that was cut off is begun again."""
    world.pool(cidr="10.0.0.0/28", blockSize=30)
    pods = {"10.0.0.1": "net.a", "10.0.0.9": "net.b", "10.9.0.1": "net.c"}
    wishes = [
        Wish(Addr.parse(addr), "n1", Holder(handle, {"node": "n1"}))
        for addr, handle in pods.items()
    ]
    for _ in range(2):
        refused = world.run(adopt(wishes, world.now))
        assert list(map(str, refused)) == ["10.9.0.1"]
        assert "no enabled pool has it" in refused[Addr.parse("10.9.0.1")]
        assert world.held() == {"10.0.0.1": "net.a", "10.0.0.9": "net.b"}
    other = Wish(Addr.parse("10.0.0.1"), "n1", Holder("net.z"))
    assert "already assigned to net.a" in str(world.run(adopt([other], world.now)))


# Giving back.


def test_who_says_which_allocation_he_means_gets_no_other(world):
    world.pool(cidr="10.0.0.0/30", blockSize=30)
    world.assign(handle="a")
    number = world.block("10.0.0.0/30").spec.sequence_number_for_allocation["0"]
    assert world.release("10.0.0.0", handle_id="b").refused == {
        Addr.parse("10.0.0.0"): "it belongs to handle a, not b"
    }
    assert world.release("10.0.0.0", handle_id="a", sequence=number).released
    world.assign(number=4, handle="a")
    late = world.release("10.0.0.0", handle_id="a", sequence=number)
    assert "it was allocated anew" in late.refused[Addr.parse("10.0.0.0")]
    done = world.release("10.0.0.0", "10.0.0.1", "10.9.9.9")
    assert len(done.released) == 2
    assert done.unallocated == (Addr.parse("10.9.9.9"),)
    assert world.release("10.0.0.1").unallocated == (Addr.parse("10.0.0.1"),)
    assert world.handles() == {"a": {"10.0.0.0/30": 2}}


def test_by_handle_over_blocks_and_families(world):
    world.pool(cidr="10.0.0.0/28", blockSize=30)
    world.pool("six", "fd00::/120", 126)
    given = world.addresses(number=6, handle="h") + world.addresses(handle="h", family=Family.V6)
    other = world.addresses(handle="other")
    assert sorted(world.release_handle("h")) == sorted(given)
    assert list(world.held()) == other
    assert list(world.handles()) == ["other"]
    assert world.release_handle("h") == []


def test_an_address_rests_when_a_setting_says_so(world):
    world.pool(cidr="10.0.0.0/30", blockSize=30)
    world.run(configure(Settings(cooldown_s=30)))
    world.assign(number=4, handle="h")
    world.release("10.0.0.2")
    assert world.handles() == {"h": {"10.0.0.0/30": 3}}
    assert world.assign().missing == 1
    with pytest.raises(Conflict, match="was given back a moment ago and rests"):
        world.assign_ip("10.0.0.2")
    world.now = at(30)
    assert world.addresses() == ["10.0.0.2"]


def test_a_block_that_is_nobodys_goes_with_the_last_that_rests(world):
    world.pool()
    world.run(configure(Settings(cooldown_s=30)))
    world.assign(handle="h")
    (name,) = world.names("IPAMBlock")
    cidr = Prefix.parse(name.replace("-", "/"))
    world.run(release_host("n1"))
    world.release_handle("h")
    assert world.block(str(cidr)).spec.owner == ""
    world.now = at(30)
    assert world.run(free_rested(cidr, world.now)) is True
    assert world.names("IPAMBlock") == []
    assert world.run(free_rested(cidr, world.now)) is False


def test_all_blocks_of_a_host_and_of_a_pool(world):
    world.pool()
    world.pool("other", "10.1.0.0/24")
    world.put("IPAMHost", "n1")
    kept = world.addresses(host="n1", handle="h", pools=("pool",))
    world.assign(host="n2", pools=("other",))
    assert len(world.run(release_host("n1"))) == 1
    assert world.names("IPAMHost") == []
    assert list(world.held())[:1] == kept
    assert world.names("BlockAffinity")[0].startswith("host:n2/10.1.")
    assert world.run(release_pool(Prefix.parse("10.0.0.0/24"))) == ()
    assert len(world.run(release_pool(Prefix.parse("10.1.0.0/24")))) == 1
    assert world.names("BlockAffinity") == []
    assert len(world.held()) == 2


# What was cut off.


def test_a_claim_that_was_cut_off_anywhere_is_finished_by_the_next_address(world):
    for steps in range(1, 20):
        world = World()
        world.pool(cidr="10.0.0.0/30", blockSize=30)
        act = Act("assign", auto_assign(demand(), world.now))
        for _ in range(steps):
            if not act.is_over:
                act.step(world.store)
        act.die()
        done = world.assign(number=3, handle="next")
        assert not done.missing
        (affinity,) = world.objects("BlockAffinity")
        assert affinity.spec.is_confirmed
        world.release_handle("h")
        assert world.handles() == {"next": {"10.0.0.0/30": 3}}
        assert len(world.held()) == 3


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.UNSURE])
def test_after_a_time_out_the_handle_finds_what_may_have_been_given(world, fault):
    world.pool(cidr="10.0.0.0/30", blockSize=30)
    world.assign(number=1, handle="other")
    act = Act("assign", auto_assign(demand(), world.now))
    while not (isinstance(act.request, Update) and act.request.key.kind == "IPAMBlock"):
        act.step(world.store)
    act.step(world.store, fault)
    assert act.is_over
    assert world.handles()["h"] == {"10.0.0.0/30": 1}
    assert len(world.release_handle("h")) == (fault is Fault.UNSURE)
    assert list(world.handles()) == ["other"]
    assert len(world.held()) == 1


def test_a_count_that_is_settled_stops_who_has_counted_and_not_written(world):
    world.pool(cidr="10.0.0.0/30", blockSize=30)
    world.assign(handle="other")
    act = Act("assign", auto_assign(demand(), world.now))
    while not (isinstance(act.request, Update) and act.request.key.kind == "IPAMBlock"):
        act.step(world.store)
    world.run(settle("h", Prefix.parse("10.0.0.0/30")))
    assert "h" not in world.handles()
    act.finish(world.store)
    assert len(act.result.given) == 1
    assert world.handles()["h"] == {"10.0.0.0/30": 1}


def test_who_takes_back_a_count_that_was_settled_takes_nobody_elses(world):
    """Two share a handle; the one whose count was settled away must not lower the other's."""
    world.pool(cidr="10.0.0.0/30", blockSize=30)
    world.assign(handle="other")
    act = Act("assign", auto_assign(demand(), world.now))
    while not (isinstance(act.request, Update) and act.request.key.kind == "IPAMBlock"):
        act.step(world.store)
    world.run(settle("h", Prefix.parse("10.0.0.0/30")))
    world.assign(handle="h")
    act.finish(world.store)
    assert len(act.result.given) == 1
    assert list(world.held().values()).count("h") == 2
    assert world.handles()["h"] == {"10.0.0.0/30": 2}


# Block sizes that change.


def test_two_nodes_with_other_ideas_of_the_block_size_never_both_give_from_what_overlaps(world):
    """One claims a /28 of a pool that is then made anew with /30: the claim is withdrawn."""
    pool = world.pool(cidr="10.0.0.0/28", blockSize=28)
    act = Act("assign", auto_assign(demand("n1"), world.now))
    while not isinstance(act.request, Create):
        act.step(world.store)
    act.step(world.store)
    assert act.request.key == Key("IPAMBlock", "", "10.0.0.0-28")
    world.store.delete(pool.key)
    world.pool(cidr="10.0.0.0/28", blockSize=30)
    theirs = world.addresses(host="n2", number=1)
    act.finish(world.store)
    (given,) = act.result.given
    assert given.block.length == 30
    assert str(given.addr) not in theirs
    assert all(name.endswith("-30") for name in world.names("IPAMBlock"))


def until(world, act, kind, request=Update):
    """Run an operation up to where it is about to write an object of a kind."""
    while not (isinstance(act.request, request) and act.request.key.kind == kind):
        act.step(world.store)
    return act


def test_a_block_that_came_anew_while_it_was_read_is_not_trusted(world):
    """Its claim has had no look yet, and another block overlaps it by now."""
    pool = world.pool(cidr="10.0.0.0/28", blockSize=28)
    world.assign(handle="first")
    slow = Act("assign", auto_assign(demand(number=16, handle="slow"), world.now))
    until(world, slow, "IPAMBlock")
    world.run(release_host("n1"))
    world.release_handle("first")
    assert world.names("IPAMBlock") == []
    again = Act("claim", claim("host:n1", Prefix.parse("10.0.0.0/28"), world.now))
    until(world, again, "IPAMBlock", Create)
    world.store.delete(pool.key)
    world.pool(cidr="10.0.0.0/28", blockSize=29)
    theirs = world.addresses(host="n2", number=16, handle="theirs")
    again.step(world.store)
    assert "10.0.0.0-28" in world.names("IPAMBlock")
    slow.finish(world.store)
    again.finish(world.store)
    given = [str(each.addr) for each in slow.result.given]
    assert len(theirs) == 16
    assert given == []
    assert sorted(world.held()) == sorted(theirs)


@pytest.mark.parametrize("by_name", [True, False])
def test_blocks_that_overlap_and_have_nothing_given_out_are_not_borrowed_from(world, by_name):
    """Both claims stand between their block and their look; one of the two will go."""
    pool = world.pool(cidr="10.0.0.0/28", blockSize=28)
    first = Act("claim", claim("host:n1", Prefix.parse("10.0.0.0/28"), world.now))
    second = Act("claim", claim("host:n2", Prefix.parse("10.0.0.0/29"), world.now))
    for act in (first, second):
        while "10.0.0.0-2" not in str(world.names("IPAMBlock")) or act is second:
            act.step(world.store)
            if len(world.names("IPAMBlock")) == 2:
                break
    assert world.names("IPAMBlock") == ["10.0.0.0-28", "10.0.0.0-29"]
    if by_name:
        with pytest.raises(Conflict, match="overlaps another one"):
            world.assign_ip("10.0.0.1", host="n3")
    else:
        assert world.assign(host="n3").missing == 1
    first.finish(world.store)
    second.finish(world.store)
    assert first.result.is_stale
    assert world.store.list([pool.key]).records
    assert len(world.names("IPAMBlock")) <= 1


def test_a_claim_that_had_no_look_is_not_confirmed_by_who_could_not_end_it(world):
    """The block was written while its claim was marked: the mark is taken back, no more."""
    world.pool(cidr="10.0.0.0/28", blockSize=28)
    cidr = Prefix.parse("10.0.0.0/28")
    cut_off = Act("claim", claim("host:n1", cidr, world.now))
    until(world, cut_off, "IPAMBlock", Create).step(world.store)
    cut_off.die()
    number = world.block(str(cidr)).spec.sequence_number
    ending = release_affinity("host:n1", cidr, require_empty=True, sequence=number)
    act = until(world, Act("release", ending), "IPAMBlock", Delete)
    world.run(raise_count("h", cidr, 1))
    world.run(settle("h", cidr))
    act.finish(world.store)
    assert act.result is False
    (affinity,) = world.objects("BlockAffinity")
    assert affinity.spec.state == "pending"


def test_a_forced_release_ends_a_claim_in_any_state(world):
    world.pool(cidr="10.0.0.0/28", blockSize=28)
    cidr = Prefix.parse("10.0.0.0/28")
    for steps in range(6):
        act = Act("claim", claim("host:n1", cidr, world.now))
        for _ in range(steps):
            if not act.is_over:
                act.step(world.store)
        act.die()
        assert world.run(release_affinity("host:n1", cidr)) is True
        assert not world.store.list([affinity_key("host:n1", cidr)]).records
        assert world.names("IPAMBlock") == []

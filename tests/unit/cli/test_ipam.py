"""ipam and datastore: calicoctl's verbs of address management against a store."""

import ipaddress
import json
from pathlib import Path

import pytest
import yaml

from ipam_world import World
from korat.cli.ipam_split import parts_of
from korat.cli.screen import framed
from korat.core.ipam.assign import auto_assign
from korat.core.ipam.draw import Holder
from korat.core.ipam.request import read
from korat.core.ipam.setting import SETTING_KEYS, Settings, configure, settings_in
from korat.core.ipam.view import Demand
from korat.core.model.key import Key
from korat.core.net.address import Family, Prefix
from korat.drivers.store.client import Client, initialize
from korat.drivers.store.sqlite import SqliteStore

SINCE = "2026-01-02T03:04:05Z"
GRACE = {"controllers": {"node": {"leakGracePeriod": "1m30s"}}}


@pytest.fixture
def world(korat):
    store = SqliteStore(korat.path)
    initialize(Client(store), "")
    yield World(store)
    store.close()


def give(world, pod, host="n1", families=(Family.V4,), **attributes):
    """What CNI does for a pod; its addresses."""
    who = {"namespace": "shop", "pod": pod, "node": host, "timestamp": SINCE}
    holder = Holder(f"net.{pod}", attributes or who)
    demands = [Demand(host=host, family=family, holder=holder) for family in families]
    return [
        str(given.addr)
        for demand in demands
        for given in world.run(auto_assign(demand, world.now)).given
    ]


def run_pod(world, name, *addresses, host="n1"):
    spec = {"nodeName": host, "containers": [{"name": "c", "image": "i"}]}
    world.put("Pod", name, spec, namespace="shop")
    status = {"podIPs": [{"ip": addr} for addr in addresses], "podIP": addresses[0]}
    key = Key("Pod", "shop", name)
    (stored,) = world.store.list([key]).records
    raw = json.loads(stored.value) | {"status": status}
    world.store.update(key, json.dumps(raw).encode(), stored.revision)


def succeeded(result, out=None, err=""):
    assert (result.code, result.err) == (0, err)
    assert out is None or result.out == out


def failed(result, err):
    assert (result.code, result.out, result.err) == (1, "", f"{err}\n")


# show


def test_a_frame_is_drawn_as_calicoctls():
    drawn = framed(("NAME", "N"), [("a", "7"), ("long one", "12")], {"N"})
    assert drawn == (
        "+----------+----+\n"
        "| NAME     | N  |\n"
        "+----------+----+\n"
        "| a        |  7 |\n"
        "| long one | 12 |\n"
        "+----------+----+"
    )  # fmt: skip


def test_show_counts_what_is_in_use_reserved_and_resting(korat, world):
    world.pool(cidr="10.0.0.0/28", blockSize=30)
    world.put("IPReservation", "r", {"reservedCIDRs": ["10.0.0.0/31", "fd00::1"]})
    world.run(configure(Settings(cooldown_s=60)))
    _, second = world.addresses(number=2, handle="a")
    world.release(second)
    world.assign_ip("10.0.0.1", handle="b")
    shown = korat("ipam", "show")
    rows = [row.split("|")[1:-1] for row in shown.out.splitlines() if row.startswith("|")]
    assert [[cell.strip() for cell in row] for row in rows] == [
        [
            "GROUPING", "CIDR", "IPS TOTAL", "IPS IN USE", "IPS RESERVED", "IPS FREE",
            "IPS COOLING",
        ],
        ["IP Pool", "10.0.0.0/28", "16", "3 (19%)", "2 (12%)", "12 (75%)", "1 (6%)"],
    ]  # fmt: skip
    value = json.loads(korat("ipam", "show", "--show-blocks", "-o", "json").out)
    (pool,) = value["pools"]
    assert {k: pool[k] for k in ("name", "total", "inUse", "reserved", "free", "cooling")} == {
        "name": "pool", "total": 16, "inUse": 3, "reserved": 2, "free": 12, "cooling": 1,
    }  # fmt: skip
    assert {block["cidr"]: block["affinity"] for block in pool["blocks"]} == {
        block.spec.cidr: "host:n1" for block in world.objects("IPAMBlock")
    }
    assert value["blocksInNoPool"] == []


def test_show_names_blocks_that_lie_in_no_pool(korat, world):
    world.pool()
    world.assign(handle="a")
    world.store.delete(Key("IPPool", "", "pool"))
    (cidr,) = [block.spec.cidr for block in world.objects("IPAMBlock")]
    rows = korat("ipam", "show", "--show-blocks").out.splitlines()
    assert len([row for row in rows if row.startswith("| Block")]) == 1
    assert cidr in rows[3]
    shown = yaml.safe_load(korat("ipam", "show", "--show-blocks", "-o", "yaml").out)
    assert [block["cidr"] for block in shown["blocksInNoPool"]] == [cidr]
    assert shown["pools"] == []


def test_show_one_address(korat, world):
    world.pool()
    (addr,) = give(world, "web")
    succeeded(
        korat("ipam", "show", "--ip", addr),
        f"IP {addr} is in use\nHandle ID: net.web\nActive Owner Attributes:\n"
        f"  namespace: shop\n  node: n1\n  pod: web\n  timestamp: {SINCE}\n",
    )
    value = json.loads(korat("ipam", "show", "--ip", addr, "-o", "json").out)
    assert (value["inUse"], value["handle"], value["affinity"]) == (True, "net.web", "host:n1")
    succeeded(korat("ipam", "show", "--ip", "10.0.0.77"), "10.0.0.77 is not assigned\n")
    world.run(configure(Settings(cooldown_s=60)))
    world.release(addr)
    said = f"{addr} is not assigned; it was released at {SINCE} and cools down\n"
    succeeded(korat("ipam", "show", "--ip", addr), said)
    failed(korat("ipam", "show", "--ip", "web"), "--ip 'web': is not an IP address")


def test_show_borrowed(korat, world):
    world.pool(cidr="10.0.0.0/30", blockSize=30)
    give(world, "a", "n1")
    (addr,) = give(world, "b", "n2")
    rows = korat("ipam", "show", "--show-borrowed").out.splitlines()
    assert [cell.strip() for cell in rows[1].strip("|").split("|")] == [
        "IP", "BORROWING-NODE", "BLOCK", "BLOCK OWNER", "TYPE", "ALLOCATED-TO",
    ]  # fmt: skip
    assert [cell.strip() for cell in rows[3].strip("|").split("|")] == [
        addr, "n2", "10.0.0.0/30", "n1", "pod", "shop/b",
    ]  # fmt: skip
    (value,) = json.loads(korat("ipam", "show", "--show-borrowed", "-o", "json").out)
    assert (value["ip"], value["borrowingNode"], value["blockOwner"]) == (addr, "n2", "n1")


def test_a_block_that_contradicts_itself_is_left_out_and_said(korat, world):
    world.pool()
    give(world, "a")
    (record,) = world.store.list(["IPAMBlock"]).records
    raw = json.loads(record.value)
    raw["spec"]["unallocated"] = []
    world.store.update(record.key, json.dumps(raw).encode(), record.revision)
    said = "1 blocks contradict themselves and are left out; `korat ipam check` says why\n"
    shown = korat("ipam", "show")
    succeeded(shown, err=said)
    assert "0 (0%)" in shown.out


# configure


def test_configure_says_what_it_set_and_both_places_agree(korat, world):
    world.put("IPAMConfiguration", "default", {"maxBlocksPerHost": 0})
    done = korat(
        "ipam", "configure", "--strictaffinity=true", "--max-blocks-per-host", "4",
        "--ip-cooldown-seconds=30", "--kubevirt-ip-persistence=Enabled",
    )  # fmt: skip
    succeeded(
        done,
        "Successfully set StrictAffinity to: true\nSuccessfully set MaxBlocksPerHost to: 4\n"
        "Successfully set KubeVirtVMAddressPersistence to: Enabled\n"
        "Successfully set IPCooldownSeconds to: 30\n",
    )
    (resource,) = world.objects("IPAMConfiguration")
    (config,) = world.objects("IPAMConfig")
    for spec in (resource.spec, config.spec):
        assert (spec.strict_affinity, spec.max_blocks_per_host) == (True, 4)
        assert spec.ip_cooldown_seconds == 30
    assert (
        "| MaxBlocksPerHost             | 4       |"
        in korat("ipam", "show", "--show-configuration").out
    )
    value = json.loads(korat("ipam", "show", "--show-configuration", "-o", "json").out)
    assert value == {
        "strictAffinity": True, "autoAllocateBlocks": True, "maxBlocksPerHost": 4,
        "kubeVirtVMAddressPersistence": "Enabled", "ipCooldownSeconds": 30,
    }  # fmt: skip


def test_configure_leaves_what_it_was_not_told(korat, world):
    world.run(configure(Settings(strict_affinity=True, max_blocks_per_host=3)))
    korat("ipam", "configure", "--ip-cooldown-seconds=5")
    spec = world.objects("IPAMConfig")[0].spec
    assert (spec.strict_affinity, spec.max_blocks_per_host) == (True, 3)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "at least one configuration option must be specified"),
        (["--strictaffinity=maybe"], "invalid value. Use true or false to set strictaffinity"),
        (["--max-blocks-per-host=few"], "--max-blocks-per-host 'few': must be a number"),
        (
            ["--max-blocks-per-host=4"],
            (
                "IPAM settings: maxBlocksPerHost 4: needs strictAffinity; without it a host at the "
                "limit borrows from other hosts"
            ),
        ),
        (
            ["--strictaffinity=1", "--max-blocks-per-host=1000001"],
            "IPAM settings: maxBlocksPerHost 1000001: must be 0 to 1000000",
        ),
        (
            ["--ip-cooldown-seconds=1201"],
            "IPAM settings: ipCooldownSeconds 1201: must be 0 to 1200",
        ),
        (
            ["--kubevirt-ip-persistence=yes"],
            "invalid value for --kubevirt-ip-persistence. Use Enabled or Disabled",
        ),
    ],
)
def test_configure_refuses(korat, world, words, said):
    failed(korat("ipam", "configure", *words), said)
    assert not world.names("IPAMConfig")


def test_configure_refuses_that_no_address_could_be_given_out(korat, world):
    world.run(configure(Settings(strict_affinity=True, auto_allocate_blocks=False)))
    done = korat("ipam", "configure", "--strictaffinity=false")
    failed(
        done,
        "IPAM settings: strictAffinity False: must be true while autoAllocateBlocks is false, or "
        "no address could be given out",
    )
    assert world.objects("IPAMConfig")[0].spec.strict_affinity


# check


def test_check_of_a_healthy_cluster_finds_nothing(korat, world):
    world.pool()
    world.put("Node", "n1")
    run_pod(world, "web", *give(world, "web"))
    done = korat("ipam", "check")
    succeeded(done)
    assert "Found 1 IPAM blocks with 1 allocations.\n" in done.out
    assert done.out.endswith("Check complete; found 0 problems.\n")


def test_check_explains_a_leak(korat, world):
    world.pool()
    world.put("Node", "n1")
    world.put("KubeControllersConfiguration", "default", GRACE)
    (addr,) = give(world, "web")
    done = korat("ipam", "check")
    succeeded(done, err="korat ipam check --show-problem-ips explains each of them\n")
    assert addr not in done.out
    done = korat("ipam", "check", "--show-problem-ips")
    succeeded(done)
    assert (
        "Found 1 addresses that are allocated and that nobody has.\n"
        f"  {addr}\n"
        f"    given to  pod shop/web on n1 at {SINCE}, handle net.web\n"
        "    why       of handle net.web: there is no pod shop/web any more\n"
        "    then      the collector takes it back 1m30s after it has first seen this\n"
        f"    or now    korat ipam release --ip {addr}\n"
    ) in done.out
    assert done.out.endswith("Check complete; found 1 problems.\n")


def fate(korat):
    out = korat("ipam", "check", "--show-problem-ips").out
    return [line.split("then", 1)[1].strip() for line in out.splitlines() if "    then" in line]


def test_check_says_what_becomes_of_each_leak(korat, world):
    world.pool()
    world.pool("six", "fd00::/120", 124)
    world.put("Node", "n1")
    key = Key("KubeControllersConfiguration", "", "default")
    (addr,) = give(world, "web")
    assert fate(korat) == ["the collector takes it back 15m after it has first seen this"]
    korat("datastore", "migrate", "lock")
    assert fate(korat)[0].endswith(", and not while the datastore is locked")
    korat("datastore", "migrate", "unlock")
    world.put(key.kind, key.name, {"controllers": {"node": {"leakGracePeriod": "0s"}}})
    assert fate(korat) == ["the collector leaves it: leakGracePeriod is 0"]
    world.store.delete(key)
    world.put(key.kind, key.name, {"controllers": {}})
    why = "KubeControllersConfiguration has no node controller"
    assert fate(korat) == [f"nothing takes it back: {why}"]
    world.store.delete(key)
    world.store.delete(Key("Node", "", "n1"))
    gone = "the collector takes it back in its next turn, as node n1 is gone"
    assert fate(korat) == [gone]
    world.release(addr)
    world.put("Node", "n1")
    world.assign_ip("10.0.0.9", handle="somebody")
    why = "nobody can tell that whom it was given to is gone"
    assert fate(korat) == [f"the collector leaves it: {why}"]
    world.release("10.0.0.9")
    four, _ = give(world, "both", families=tuple(Family))
    run_pod(world, "both", four)
    assert fate(korat) == [f"the collector leaves it: {four}, which has the same handle, is in use"]


def test_check_lists_everything_when_asked(korat, world):
    world.pool()
    world.put("Node", "n1")
    (addr,) = give(world, "web")
    run_pod(world, "web", addr)
    out = korat("ipam", "check", "--show-all-ips").out
    assert f"  {addr} allocated to pod shop/web on n1 at {SINCE}, handle net.web\n" in out
    assert f"  {addr} belongs to Pod shop/web\n" in out


def test_check_names_what_cannot_be_read(korat, world):
    world.store.create(Key("IPAMBlock", "", "10.0.0.0-28"), b"{")
    done = korat("ipam", "check", "--show-problem-ips")
    assert "IPAMBlock 10.0.0.0-28\n    why       it cannot be read\n" in done.out


def test_the_report_is_calicoctls(korat, world):
    world.pool()
    world.put("Node", "n1")
    (used,), (leaked,) = give(world, "web"), give(world, "gone")
    run_pod(world, "web", used)
    world.put("IPAMHandle", "empty", {"handleID": "empty", "block": {"10.0.0.0/28": 1}})
    path = korat.file("report.json", "")
    succeeded(korat("ipam", "check", "--show-problem-ips", "-o", path))
    report = json.loads(Path(path).read_text())
    (information,) = world.objects("ClusterInformation")
    assert report["clusterGUID"] == information.spec.cluster_guid
    assert report["clusterInformationRevision"] == information.metadata.resource_version
    assert report["datastoreLocked"] is False
    ((one,), (two,)) = report["allocations"][used], report["allocations"][leaked]
    assert (one["inUse"], one["owners"]) == (True, ["Pod shop/web"])
    assert {k: two[k] for k in ("ip", "handle", "pod", "namespace", "node", "inUse")} == {
        "ip": leaked, "handle": "net.gone", "pod": "gone", "namespace": "shop", "node": "n1",
        "inUse": False,
    }  # fmt: skip
    assert two["sequenceNumber"] > 0
    (handle,) = report["leakedHandles"]
    assert (handle["ID"], handle["UID"]) == ("empty", None)
    assert len(report["findings"]) == 2


def test_check_says_that_it_cannot_write_its_report(korat, world):
    done = korat("ipam", "check", "-o", "/nowhere/report.json")
    assert done.code == 1
    assert done.err == "/nowhere/report.json: cannot be written: no such file or directory\n"


# release


def test_release_one_address(korat, world):
    world.pool()
    world.put("Node", "n1")
    (addr,), (used,) = give(world, "web"), give(world, "db")
    run_pod(world, "db", used)
    succeeded(korat("ipam", "release", "--ip", addr), f"Successfully released IP address {addr}\n")
    failed(korat("ipam", "release", "--ip", addr), f"IP address {addr} is not assigned")
    succeeded(
        korat("ipam", "release", "--ip", used),
        f"Successfully released IP address {used}\n",
        f"{used} is still used by Pod shop/db, and may be given to somebody else now\n",
    )
    assert world.held() == {}
    assert world.handles() == {}


def test_release_wants_one_of_both(korat, world):
    assert korat("ipam", "release").code == 2
    assert korat("ipam", "release", "--ip", "10.0.0.1", "--from-report", "r").code == 2


def locked_report(korat, name="report.json"):
    korat("datastore", "migrate", "lock")
    path = korat.file(name, "")
    korat("ipam", "check", "-o", path)
    return path


def test_release_from_a_report(korat, world):
    world.pool()
    world.put("Node", "n1")
    (used,), (leaked,) = give(world, "web"), give(world, "gone")
    run_pod(world, "web", used)
    world.put("IPAMHandle", "empty", {"handleID": "empty", "block": {"10.0.0.0/28": 1}})
    path = locked_report(korat)
    succeeded(
        korat("ipam", "release", "--from-report", path),
        "Releasing 1 old IPs...\nReleased 1 IPs successfully\nDeleting 1 handles...\n"
        "Released 1 handles; 0 skipped; 0 errors.\nYou may now unlock the data store.\n",
    )
    assert set(world.held()) == {used}
    assert set(world.handles()) == {"net.web"}
    succeeded(
        korat("ipam", "release", "--from-report", path),
        "Releasing 1 old IPs...\nReleased 0 IPs successfully\n"
        "1 addresses marked as leaked in the report had already been cleaned up.\n"
        "Deleting 1 handles...\nReleased 0 handles; 1 skipped; 0 errors.\n"
        "You may now unlock the data store.\n",
    )
    assert leaked not in world.held()


def test_release_leaves_what_is_used_or_was_given_out_again(korat, world):
    world.pool(cidr="10.0.0.0/30", blockSize=30)
    world.put("Node", "n1")
    (late,), (again,) = give(world, "late"), give(world, "first")
    path = locked_report(korat)
    run_pod(world, "late", late)
    world.release(again)
    world.assign_ip(again, handle="second")
    done = korat("ipam", "release", "--from-report", path)
    assert "Releasing 1 old IPs...\nReleased 0 IPs successfully\n" in done.out
    assert done.err == (
        f"{late} stays: Pod shop/late uses it now\n"
        f"{again} stays: it belongs to handle second, not net.first\n"
    )
    assert set(world.held()) == {late, again}


def test_of_several_reports_only_what_all_found_goes(korat, world):
    world.pool()
    world.put("Node", "n1")
    (old,) = give(world, "old")
    first = locked_report(korat)
    (new,) = give(world, "new")
    second = locked_report(korat, "second.json")
    korat("ipam", "release", "--from-report", first, "--from-report", second)
    assert set(world.held()) == {new}
    assert old not in world.held()


def test_reports_that_may_not_be_used(korat, world):
    path = locked_report(korat)
    report = json.loads(Path(path).read_text())

    def refused(said, *words, **changes):
        other = korat.file("other.json", json.dumps(report | changes))
        failed(korat("ipam", "release", "--from-report", other, *words), said.format(other))

    guid = "cluster does not match the provided report ({}): mismatched cluster GUID. "
    refused(guid + "Refusing to release", clusterGUID="another")
    refused(guid + "Refusing to release", "--force", clusterGUID="another")
    refused(
        "the provided report ({}) was produced using a different version (v9) of korat. "
        "Refusing to release",
        version="v9",
    )
    refused(
        "the provided reports are all stale - at least one should be up-to-date. Please generate "
        "a new report while the data store is locked and try again",
        clusterInformationRevision="1",
    )
    failed(
        korat("ipam", "release", "--from-report", korat.file("bad.json", "{")),
        f"{korat.folder}/bad.json: is no report of `korat ipam check -o`: Input data was truncated",
    )
    korat("datastore", "migrate", "unlock")
    (information,) = world.objects("ClusterInformation")
    now = information.metadata.resource_version
    refused(
        "data store is not locked. Either lock the data store, or re-run with --force",
        clusterInformationRevision=now,
    )
    other = korat.file("other.json", json.dumps(report | {"clusterInformationRevision": now}))
    done = korat("ipam", "release", "--from-report", other, "--force")
    assert done.code == 0
    assert done.err == "WARNING: Data store is not locked. Ignoring due to --force option\n"


# split


def test_split_keeps_blocks_and_addresses(korat, world):
    world.pool(cidr="10.0.0.0/26", natOutgoing=True)
    for i in range(3):
        give(world, f"p{i}", f"n{i}")
    held, blocks = world.held(), world.names("IPAMBlock")
    korat("datastore", "migrate", "lock")
    succeeded(
        korat("ipam", "split", "2", "--cidr", "10.0.0.0/26"),
        "IP Pool pool was successfully split into 2 smaller pools.\n"
        "Created split-pool-0 with CIDR 10.0.0.0/27.\n"
        "Created split-pool-1 with CIDR 10.0.0.32/27.\n",
    )
    pools = {pool.metadata.name: pool.spec for pool in world.objects("IPPool")}
    assert {name: spec.cidr for name, spec in pools.items()} == {
        "split-pool-0": "10.0.0.0/27",
        "split-pool-1": "10.0.0.32/27",
    }
    for spec in pools.values():
        assert (spec.block_size, spec.nat_outgoing, spec.disabled) == (28, True, False)
    assert (world.held(), world.names("IPAMBlock")) == (held, blocks)
    assert "overlaps" not in korat("ipam", "check", "--show-problem-ips").out


def test_a_split_that_was_cut_off_is_finished(korat, world):
    world.pool(cidr="10.0.0.0/26")
    korat("datastore", "migrate", "lock")
    (record,) = world.store.list(["IPPool"]).records
    korat("ipam", "split", "2", "--name", "pool")
    world.store.delete(Key("IPPool", "", "split-pool-1"))
    world.store.create(record.key, record.value)
    succeeded(korat("ipam", "split", "2", "--name", "pool"))
    assert world.names("IPPool") == ["split-pool-0", "split-pool-1"]


LOCK = "Run the `korat datastore migrate lock` command in order to split the IP pools"
WHAT = "error splitting the CIDR 10.0.0.0/26 into"
POWER = "number to split CIDR into is not a valid power of 2"
SMALL = "is not large enough to be split into 8 parts of whole /28 blocks"


@pytest.mark.parametrize(
    ("words", "locked", "said"),
    [
        (["2"], True, "no name or CIDR provided"),
        (["two", "--name=pool"], True, "error reading number to split IP pools into. two is not"),
        (["2", "--name=pool"], False, f"datastore is not locked. {LOCK}\n"),
        (["2", "--name=nope"], True, "unable to find IP pool with name nope\n"),
        (["2", "--cidr=10.9.0.0/16"], True, "unable to find IP pool covering the specified CIDR"),
        (["2", "--cidr=words"], True, "unable to find IP pool covering the specified CIDR words"),
        (["3", "--name=pool"], True, f"{WHAT} 3 CIDRs: {POWER}: 3\n"),
        (["1", "--name=pool"], True, f"{WHAT} 1 CIDRs: {POWER}: 1\n"),
        (["8", "--name=pool"], True, f"{WHAT} 8 CIDRs: the CIDR 10.0.0.0/26 {SMALL}\n"),
    ],
)  # fmt: skip
def test_split_refuses_and_changes_nothing(korat, world, words, locked, said):
    world.pool(cidr="10.0.0.0/26")
    if locked:
        korat("datastore", "migrate", "lock")
    before = world.store.list(["IPPool"]).records
    done = korat("ipam", "split", *words)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(said)
    assert world.store.list(["IPPool"]).records == before


@pytest.mark.parametrize("cidr", ["10.0.0.0/24", "fd00::/112"])
@pytest.mark.parametrize("count", [2, 4, 16])
def test_parts_are_the_librarys_subnets(cidr, count):
    network = ipaddress.ip_network(cidr)
    prefix = network.prefixlen + count.bit_length() - 1
    block_size = 28 if network.version == 4 else 122
    found = parts_of(Prefix.parse(cidr), count, block_size)
    assert list(map(str, found)) == [str(each) for each in network.subnets(new_prefix=prefix)]


# the lock


def test_lock_and_unlock(korat):
    succeeded(korat("datastore", "migrate", "lock"), "Datastore locked.\n")
    shown = korat("get", "clusterinformation", "default", "-o", "json")
    assert json.loads(shown.out)["spec"]["datastoreReady"] is False
    succeeded(korat("datastore", "migrate", "unlock"), "Datastore unlocked.\n")
    shown = korat("get", "clusterinformation", "default", "-o", "json")
    assert json.loads(shown.out)["spec"]["datastoreReady"] is True


def test_unlocking_an_empty_store_is_refused(korat):
    failed(
        korat("datastore", "migrate", "unlock"),
        "resource does not exist: ClusterInformation(default)",
    )


def test_the_settings_are_those_that_the_engine_reads(korat, world):
    korat("ipam", "configure", "--strictaffinity", "true")
    assert settings_in(world.run(read(*SETTING_KEYS))).strict_affinity

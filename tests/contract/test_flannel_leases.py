"""flannel's leases in a real etcd, beside a flanneld that is played by etcdctl."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from math import inf

import pytest

from etcd_world import PATIENCE_S
from korat.core.errors import Invalid, NotFound, Unavailable
from korat.core.net.address import Addr, Prefix
from korat.core.route.flannel.lease import Holder, TunnelEnd, lease_value
from korat.drivers.etcd.client import Etcd
from korat.drivers.etcd.error import OutcomeUnknown
from korat.drivers.etcd.flannel import EtcdSubnets, connect
from korat.drivers.etcd.settings import FlannelEtcd

DAY_S = 24 * 3600
CONFIG = '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}'
DUAL = (
    '{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fc00::/48",'
    '"Backend":{"Type":"vxlan"}}'
)
#: As flanneld 0.28 writes it.
THEIRS = (
    '{"PublicIP":"10.0.0.9","PublicIPv6":null,"BackendType":"vxlan",'
    '"BackendData":{"VNI":1,"VtepMAC":"aa:bb:cc:dd:ee:09"}}'
)


def holder(number, mac=None):
    node = Addr.parse(f"10.0.0.{number}")
    return Holder(node, "vxlan", (TunnelEnd(node, 1, mac or f"6a:00:00:00:00:{number:02x}"),))


class Site:
    """One flannel network in the shared etcd."""

    def __init__(self, server, root):
        self.server, self.root = server, root
        self.etcd = Etcd(server.settings())

    def subnets(self, draw=lambda _: 0):
        return EtcdSubnets(self.etcd, self.root, draw)

    def write(self, name, value, *options):
        self.server.ctl("put", f"{self.root}/{name}", value, *options)

    def lease(self, ttl_s):
        """A lease's number, as etcdctl writes it."""
        return self.server.ctl("lease", "grant", str(ttl_s)).split()[1]

    def read(self):
        """All keys of leases with their values, as etcdctl tells."""
        lines = self.server.ctl("get", "--prefix", f"{self.root}/subnets/").splitlines()
        pairs = zip(lines[::2], lines[1::2], strict=True)
        return {key.rpartition("/")[2]: value for key, value in pairs}

    def ttl_s(self, name):
        """How long a key lasts; None where it has no lease."""
        item = self.etcd.get(f"{self.root}/subnets/{name}")
        return self.etcd.time_to_live(item.lease) if item.lease else None


@pytest.fixture
def site(etcd_server, request):
    made = Site(etcd_server, f"/{request.node.name}/network")
    made.write("config", CONFIG)
    yield made
    made.etcd.close()


def test_without_a_configuration_the_remedy_is_a_command_that_works(site):
    site.server.ctl("del", f"{site.root}/config")
    with pytest.raises(NotFound) as caught:
        site.subnets().network()
    command = caught.value.remedy.removeprefix("write it: etcdctl put ")
    key, _, value = command.partition(" ")
    site.server.ctl("put", key, value.strip("'"))
    assert site.subnets().network().backend == "vxlan"


def test_a_wrong_configuration_is_refused(site):
    site.write("config", '{"Network":"10.5.0.0/16","Backend":{"Type":"host-gw"}}')
    with pytest.raises(Invalid, match="host-gw"):
        site.subnets().acquire(holder(4), None)
    assert site.read() == {}


def test_a_lease_is_written_as_flannel_writes_it(site):
    held = site.subnets().acquire(holder(4, "6a:01:02:03:04:05"), None)
    assert (held.lease.key, held.left_s) == ("10.5.1.0-24", DAY_S)
    assert site.read() == {
        "10.5.1.0-24": '{"PublicIP":"10.0.0.4","PublicIPv6":null,"BackendType":"vxlan",'
        '"BackendData":{"VNI":1,"VtepMAC":"6a:01:02:03:04:05"}}'
    }
    assert DAY_S - 10 < site.ttl_s("10.5.1.0-24") <= DAY_S


def test_both_families(site):
    site.write("config", DUAL)
    v4, v6 = Addr.parse("10.0.0.4"), Addr.parse("fd00::4")
    ends = (TunnelEnd(v4, 1, "6a:00:00:00:00:04"), TunnelEnd(v6, 1, "6a:00:00:00:00:06"))
    held = site.subnets().acquire(Holder(v4, "vxlan", ends), None)
    assert held.lease.key == "10.5.1.0-24&fc00:0:0:1::-64"
    assert json.loads(site.read()[held.lease.key])["BackendV6Data"]["VtepMAC"].endswith("06")
    assert site.subnets().acquire(Holder(v4, "vxlan", ends), None).lease == held.lease


def test_a_nodes_own_lease_is_used_again_with_what_is_true_now(site):
    site.write("subnets/10.5.7.0-24", THEIRS, "--lease", site.lease(60))
    held = site.subnets().acquire(holder(9, "6a:00:00:00:00:99"), None)
    assert held.lease.key == "10.5.7.0-24"
    assert list(site.read()) == ["10.5.7.0-24"]
    assert "6a:00:00:00:00:99" in site.read()["10.5.7.0-24"]
    assert site.ttl_s("10.5.7.0-24") > DAY_S - 10


def test_a_reservation_stays_one(site):
    site.write("subnets/10.5.7.0-24", THEIRS)
    held = site.subnets().acquire(holder(9), None)
    assert (held.lease.key, held.left_s) == ("10.5.7.0-24", inf)
    assert site.ttl_s("10.5.7.0-24") is None
    assert site.subnets().renew(held.lease).left_s == inf
    assert site.ttl_s("10.5.7.0-24") is None


def test_what_is_taken_in_any_way_is_not_given(site):
    site.write("subnets/10.5.1.0-24", THEIRS)
    site.write("subnets/10.5.2.0-24", "not even JSON")
    site.write("subnets/old/10.5.3.0-24", THEIRS.replace("10.0.0.9", "10.0.0.4"))
    site.write("subnets/10.5.4.0-22", THEIRS.replace("10.0.0.9", "10.0.0.8"))
    assert site.subnets().acquire(holder(4), None).lease.key == "10.5.3.0-24"
    assert site.subnets().acquire(holder(5), None).lease.key == "10.5.8.0-24"


def test_a_lease_under_a_name_that_flannel_would_not_write_is_only_taken(site):
    site.write("config", DUAL)
    site.write("subnets/10.5.1.0-24&FC00:0:0:1::-64", THEIRS)
    assert site.subnets().acquire(holder(9), None).lease.key == "10.5.2.0-24&fc00:0:0:2::-64"


def test_the_subnet_of_before_if_it_is_free(site):
    previous = (Prefix.parse("10.5.200.0/24"), None)
    assert site.subnets().acquire(holder(4), previous).lease.key == "10.5.200.0-24"
    assert site.subnets().acquire(holder(5), previous).lease.key == "10.5.1.0-24"


def test_a_lease_outside_of_the_network_goes(site):
    site.write("subnets/10.99.7.0-24", THEIRS, "--lease", site.lease(60))
    assert site.subnets().acquire(holder(9), None).lease.key == "10.5.1.0-24"
    assert list(site.read()) == ["10.5.1.0-24"]


def test_nodes_that_start_together_have_a_subnet_each(site):
    """All of them draw the first free subnet, so nearly every one loses a race."""
    with ThreadPoolExecutor(6) as pool:
        nodes = range(1, 7)
        held = list(pool.map(lambda n: site.subnets().acquire(holder(n), None), nodes))
    assert {each.lease.key: lease_value(each.lease) for each in held} == site.read()
    assert len(site.read()) == 6


def test_a_race_that_is_always_lost_ends(site):
    class Outrun(Etcd):
        """Somebody is always faster."""

        def txn(self, conditions, success, failure=()):
            site.write(f"subnets/{success[0].key.rpartition('/')[2]}", THEIRS)
            return super().txn(conditions, success, failure)

    with Outrun(site.server.settings()) as etcd:
        subnets = EtcdSubnets(etcd, site.root, lambda _: 0)
        with pytest.raises(Unavailable, match="changed 10 times"):
            subnets.acquire(holder(4), None)
    assert set(site.read().values()) == {THEIRS}


@pytest.mark.parametrize("done", [True, False])
def test_a_write_that_nobody_confirms_is_found_or_tried_again(site, done):
    lost = []

    class Vague(Etcd):
        """The first answer to a write is lost."""

        def txn(self, conditions, success, failure=()):
            if lost:
                return super().txn(conditions, success, failure)
            lost.append(success[0].key)
            if done:
                super().txn(conditions, success, failure)
            raise OutcomeUnknown("nobody said")

    draws = iter([5, 9])
    with Vague(site.server.settings()) as etcd:
        held = EtcdSubnets(etcd, site.root, lambda _: next(draws)).acquire(holder(4), None)
    # Done or not, it is the same key: a write that is late cannot make a second lease.
    assert lost[0].endswith(held.lease.key)
    assert site.read() == {held.lease.key: lease_value(held.lease)}
    assert site.ttl_s(held.lease.key) > DAY_S - 10


def test_a_lease_is_renewed_with_what_it_says_now(site):
    subnets = site.subnets()
    held = subnets.acquire(holder(4), None)
    before = site.etcd.get(f"{site.root}/subnets/{held.lease.key}")
    changed = holder(4, "6a:00:00:00:00:44").lease(held.lease.subnet, None)
    assert subnets.renew(changed).left_s == DAY_S
    after = site.etcd.get(f"{site.root}/subnets/{held.lease.key}")
    assert (after.created, after.value) == (before.created, lease_value(changed).encode())
    assert after.lease != before.lease
    # The key does not hang on the lease of before any more.
    site.etcd.revoke(before.lease)
    assert list(site.read()) == [held.lease.key]


def test_a_lease_that_is_gone_or_somebody_elses_is_not_renewed(site):
    subnets = site.subnets()
    held = subnets.acquire(holder(4), None)
    site.server.ctl("del", f"{site.root}/subnets/{held.lease.key}")
    with pytest.raises(NotFound, match="was deleted"):
        subnets.renew(held.lease)
    assert site.read() == {}
    site.write(f"subnets/{held.lease.key}", THEIRS)
    with pytest.raises(NotFound, match=r"is 10\.0\.0\.9's now"):
        subnets.renew(held.lease)
    assert site.read() == {held.lease.key: THEIRS}


# The watch.


def keys(leases):
    return None if leases is None else [lease.key for lease in leases]


def test_all_leases_are_followed(site):
    site.write("subnets/10.5.9.0-24", THEIRS)
    subnets = site.subnets()
    watch = subnets.watch()
    assert keys(watch.poll(PATIENCE_S)) == ["10.5.9.0-24"]
    assert watch.poll(0.05) is None
    held = subnets.acquire(holder(4), None)
    assert keys(watch.poll(PATIENCE_S)) == ["10.5.1.0-24", "10.5.9.0-24"]
    subnets.renew(held.lease)  # Another lease of etcd's, and nothing new to anyone.
    site.write("subnets/10.5.8.0-24", "not even JSON")
    assert watch.poll(0.2) is None
    changed = holder(4, "6a:00:00:00:00:44").lease(held.lease.subnet, None)
    subnets.renew(changed)
    assert changed in watch.poll(PATIENCE_S)
    site.server.ctl("del", f"{site.root}/subnets/10.5.1.0-24")
    assert keys(watch.poll(PATIENCE_S)) == ["10.5.9.0-24"]
    watch.close()
    assert watch.poll(PATIENCE_S) is None


def test_leases_that_end_are_told(site):
    site.write("subnets/10.5.9.0-24", THEIRS, "--lease", site.lease(1))
    watch = site.subnets().watch()
    assert keys(watch.poll(PATIENCE_S)) == ["10.5.9.0-24"]
    assert keys(watch.poll(PATIENCE_S)) == []
    watch.close()


def test_after_a_compaction_they_are_listed_again(site):
    watch = site.subnets().watch()
    assert keys(watch.poll(PATIENCE_S)) == []
    watch._watch.close()
    site.write("subnets/10.5.9.0-24", THEIRS)
    site.write("subnets/10.5.9.0-24", THEIRS.replace("10.0.0.9", "10.0.0.8"))
    now = site.etcd.range("/").revision
    site.server.ctl("compact", str(now))
    # As if the connection had been away since the list.
    watch._watch = site.etcd.watch(f"{site.root}/subnets/", now - 2)
    (lease,) = watch.poll(PATIENCE_S)
    assert lease.public_ip == Addr.parse("10.0.0.8")
    watch.close()


def test_closing_wakes_a_poll(site):
    watch = site.subnets().watch()
    watch.poll(PATIENCE_S)
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(watch.poll(PATIENCE_S)))
    waiting.start()
    time.sleep(0.1)
    watch.close()
    watch.close()
    waiting.join(5)
    assert answers == [None]


def test_settings_lead_to_the_leases(site):
    subnets = connect(FlannelEtcd(site.server.settings(), site.root))
    assert subnets.acquire(holder(4), None).lease.key in site.read()
    subnets.close()
    with pytest.raises(Unavailable):
        subnets.network()

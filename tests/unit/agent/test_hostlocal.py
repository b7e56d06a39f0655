"""The reservations on disk; and the real host-local in the same folder, where it is installed."""

import json
import subprocess
import threading
from pathlib import Path

import pytest

from cni_world import names
from korat.agent.address_source import AddressRequest, AddressSources
from korat.agent.hostlocal import HostLocal, Reservations
from korat.core.errors import Invalid, Unavailable, Unsupported
from korat.core.ipam.hostlocal import Owner, range_sets
from korat.core.net.address import Addr, Prefix

REAL = Path("/usr/lib/cni/host-local")
SETS = range_sets({"subnet": "10.0.0.0/28"}, [])


def owner(number, ifname="eth0"):
    return Owner(f"c{number}", ifname)


def test_files_are_host_locals_own(tmp_path):
    Reservations("net", str(tmp_path)).assign(SETS, owner(1))
    assert names(tmp_path / "net") == ["10.0.0.2", "last_reserved_ip.0", "lock"]
    assert (tmp_path / "net" / "10.0.0.2").read_bytes() == b"c1\r\neth0"
    assert (tmp_path / "net" / "last_reserved_ip.0").read_bytes() == b"10.0.0.2"


def test_nobody_else_may_hold_the_lock(tmp_path):
    """flock asks for an open file only: who may read it could stop every pod of the node."""
    lock = tmp_path / "net" / "lock"
    lock.parent.mkdir()
    lock.touch(0o644)
    Reservations("net", str(tmp_path)).assign(SETS, owner(1))
    assert lock.stat().st_mode & 0o777 == 0o600


def test_a_last_address_that_is_no_text_is_passed_over(tmp_path):
    files = Reservations("net", str(tmp_path))
    files.assign(SETS, owner(1))
    (tmp_path / "net" / "last_reserved_ip.0").write_bytes(b"\xff\xfe")
    assert files.assign(SETS, owner(2)) == (Addr.parse("10.0.0.3"),)


def test_asking_again_release_and_the_next_one(tmp_path):
    files = Reservations("net", str(tmp_path))
    first = files.assign(SETS, owner(1))
    assert files.assign(SETS, owner(1)) == first
    assert files.release(owner(1, "eth1")) == ()
    assert files.release(owner(1)) == first
    assert files.release(owner(1)) == ()
    assert files.assign(SETS, owner(2)) == (Addr.parse("10.0.0.3"),)
    assert files.held() == {Addr.parse("10.0.0.3"): owner(2)}


def test_asking_again_does_not_disturb_the_order(tmp_path):
    files = Reservations("net", str(tmp_path))
    files.assign(SETS, owner(1))
    files.assign(SETS, owner(2))
    files.assign(SETS, owner(1))
    files.release(owner(2))
    assert files.assign(SETS, owner(3)) == (Addr.parse("10.0.0.4"),)


def test_another_ipam_is_refused(tmp_path):
    ipam = {"type": "dhcp", "subnet": "10.0.0.0/28", "dataDir": str(tmp_path)}
    sources = AddressSources({"host-local": HostLocal(list)})
    request = AddressRequest("net", ipam, owner(1))
    for ask in (lambda: sources.check(ipam), lambda: sources.assign(request)):
        with pytest.raises(Unsupported, match=r"dhcp.*set it to host-local"):
            ask()


def test_heir_keeps_the_address_and_the_old_ones_release_does_nothing(tmp_path):
    files = Reservations("net", str(tmp_path))
    first = files.assign(SETS, owner(1))
    assert files.assign(SETS, owner(2), heir_of=owner(1)) == first
    assert files.release(owner(1)) == ()
    assert files.held() == {first[0]: owner(2)}


def test_threads_never_get_one_address_twice(tmp_path):
    found = []

    def work(number):
        found.extend(Reservations("net", str(tmp_path)).assign(SETS, owner(number)))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(13)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == len(found) == 13
    with pytest.raises(Unavailable, match="no free address"):
        Reservations("net", str(tmp_path)).assign(SETS, owner(99))


@pytest.mark.parametrize("network", ["", ".", "..", "a/b", "../x", "a\0b"])
def test_network_that_is_no_folder(network, tmp_path):
    with pytest.raises(Invalid):
        Reservations(network, str(tmp_path))


@pytest.mark.parametrize("folder", ["relative", "/a/../b", ""])
def test_data_dir_that_is_not_absolute(folder):
    with pytest.raises(Invalid, match="dataDir"):
        Reservations("net", folder)


def test_folder_that_cannot_be_used_is_worth_another_try(tmp_path):
    (tmp_path / "net").write_text("a file")
    with pytest.raises(Unavailable):
        Reservations("net", str(tmp_path)).assign(SETS, owner(1))


def test_last_address_that_is_damaged_only_loses_the_order(tmp_path):
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "last_reserved_ip.0").write_text("nonsense")
    assert Reservations("net", str(tmp_path)).assign(SETS, owner(1)) == (Addr.parse("10.0.0.2"),)


def test_release_needs_no_pod_cidr(tmp_path):
    ipam = {"subnet": "usePodCidr", "dataDir": str(tmp_path)}
    HostLocal(lambda: [Prefix.parse("10.0.0.0/28")]).assign(AddressRequest("net", ipam, owner(1)))
    lost = HostLocal(list)
    assert lost.release(AddressRequest("net", ipam, owner(1))) == (Addr.parse("10.0.0.2"),)
    with pytest.raises(Unavailable, match="pod CIDR"):
        lost.check(ipam)


class Real:
    """The real host-local plugin."""

    def __init__(self, folder, ipam):
        self.config = {
            "cniVersion": "0.4.0",
            "name": "net",
            "type": "x",
            "ipam": {"type": "host-local", "dataDir": str(folder), **ipam},
        }

    def call(self, command, who):
        env = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": who.container_id,
            "CNI_IFNAME": who.ifname,
            "CNI_NETNS": "/nowhere",
            "CNI_PATH": str(REAL.parent),
        }
        done = subprocess.run(
            [REAL],
            env=env,
            input=json.dumps(self.config),
            text=True,
            capture_output=True,
            check=False,
        )
        return json.loads(done.stdout) if done.stdout else {}

    def add(self, who):
        found = self.call("ADD", who)
        return tuple(Addr.parse(ip["address"].split("/")[0]) for ip in found.get("ips", ()))


def contents(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir()}


@pytest.mark.skipif(not REAL.exists(), reason=f"{REAL} (containernetworking-plugins) is not there")
@pytest.mark.parametrize(
    "ipam",
    [
        {"subnet": "10.0.0.0/29"},
        {"subnet": "10.0.0.0/28", "rangeStart": "10.0.0.4", "rangeEnd": "10.0.0.8"},
        {"subnet": "10.0.0.0/28", "gateway": "10.0.0.4", "rangeEnd": "10.0.0.6"},
        {"ranges": [[{"subnet": "10.0.0.0/29"}, {"subnet": "10.1.0.0/30"}]]},
        {"ranges": [[{"subnet": "10.0.0.0/29"}], [{"subnet": "fd00::/125"}]]},
    ],
    ids=["subnet", "range", "gateway", "two-in-a-set", "dual-stack"],
)
def test_real_host_local_does_the_same_in_the_same_folder(tmp_path, ipam):
    """Twin folders: one is worked by the real program alone, one by both of us in turns."""
    real, mixed = Real(tmp_path / "real", ipam), Real(tmp_path / "mixed", ipam)
    ours = HostLocal(list)
    config = {**ipam, "dataDir": str(tmp_path / "mixed")}
    for step in range(24):
        who = owner(step)
        expected = real.add(who)
        assert expected or step
        if step % 3 == 2:
            found = mixed.add(who)
        else:
            try:
                found = ours.assign(AddressRequest("net", config, who))
            except Unavailable:
                found = ()
        assert found == expected, step
        if step % 2 or not expected:
            gone = owner(step // 2)
            real.call("DEL", gone)
            if step % 4 == 1:
                mixed.call("DEL", gone)
            else:
                ours.release(AddressRequest("net", config, gone))
        assert contents(tmp_path / "mixed" / "net") == contents(tmp_path / "real" / "net"), step

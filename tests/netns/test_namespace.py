"""Network namespaces and sysctls of the real kernel."""

import itertools
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from korat.core.errors import Conflict, Invalid, NotFound, Unsupported
from korat.drivers.kernel import namespace, sysctl

pytestmark = pytest.mark.netns

_numbers = itertools.count()


@pytest.fixture
def netns():
    name = f"kt-{os.getpid()}-ns{next(_numbers)}"
    namespace.create(name)
    yield name
    namespace.remove(name)


def inode() -> int:
    return Path("/proc/thread-self/ns/net").stat().st_ino


def output(*argv) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def test_a_namespace_is_one_that_iproute2_sees(netns):
    assert netns in output("ip", "netns", "list").split()
    assert namespace.exists(netns)
    assert netns in namespace.names(netns)


def test_creating_it_twice_is_a_conflict(netns):
    with pytest.raises(Conflict, match=netns):
        namespace.create(netns)


def test_removing_it_twice_is_fine(netns):
    namespace.remove(netns)
    namespace.remove(netns)
    assert not namespace.exists(netns)
    assert namespace.names(netns) == ()


def test_a_half_made_one_does_not_exist_and_is_taken_over(netns):
    namespace.remove(netns)
    namespace.path_of(netns).touch()
    assert not namespace.exists(netns)
    namespace.create(netns)
    assert namespace.exists(netns)


def test_work_inside_leaves_the_caller_where_it_is(netns):
    before = inode()
    assert namespace.run_in(netns, inode) == namespace.path_of(netns).stat().st_ino
    assert namespace.run_in(namespace.path_of(netns), inode) != before
    assert inode() == before


def test_a_namespace_without_a_name_is_new_and_leaves_nothing():
    before, names = inode(), namespace.names()
    shown = {namespace.run_in_new(inode) for _ in range(3)}
    assert before not in shown
    assert namespace.run_in_new(namespace.names) == names
    assert inode() == before


def test_errors_inside_are_raised_outside_and_the_thread_ends(netns):
    def fail():
        raise ZeroDivisionError(threading.current_thread().name)

    with pytest.raises(ZeroDivisionError, match="netns"):
        namespace.run_in(netns, fail)
    assert all(thread.name != "netns" for thread in threading.enumerate())


def test_a_program_started_inside_stays_inside(netns):
    shown = namespace.run_in(netns, lambda: output("readlink", "/proc/self/ns/net"))
    assert shown.strip() == f"net:[{namespace.path_of(netns).stat().st_ino}]"


def test_a_thread_may_enter_for_good(netns):
    seen = []
    thread = threading.Thread(target=lambda: (namespace.enter(netns), seen.append(inode())))
    thread.start()
    thread.join()
    assert seen == [namespace.path_of(netns).stat().st_ino]


def test_a_socket_lives_inside(netns):
    # lo is down in a new namespace, so its own address cannot be reached.
    with (
        namespace.socket_in(netns, socket.AF_INET, socket.SOCK_DGRAM) as inside,
        pytest.raises(OSError, match="unreachable"),
    ):
        inside.connect(("127.0.0.1", 9))


def test_many_threads_work_in_many_namespaces(netns):
    other = f"{netns}-other"
    namespace.create(other)
    try:
        wanted = {name: namespace.path_of(name).stat().st_ino for name in (netns, other)}
        wrong = []

        def work(name):
            wrong.extend(1 for _ in range(50) if namespace.run_in(name, inode) != wanted[name])

        threads = [threading.Thread(target=work, args=(name,)) for name in wanted for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
    finally:
        namespace.remove(other)


def test_a_missing_one_is_not_found():
    with pytest.raises(NotFound, match="kt-nowhere does not exist"):
        namespace.run_in("kt-nowhere", inode)


@pytest.mark.parametrize("name", ["", "..", "a/b", "/etc/passwd"])
def test_only_names_are_made_and_removed(name):
    with pytest.raises(Invalid):
        namespace.create(name)
    with pytest.raises(Invalid):
        namespace.remove(name)


def test_without_root_it_says_so(netns):
    script = f"""
import os
from korat.drivers.kernel import namespace
os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    namespace.run_in({netns!r}, int)
except Exception as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(f"Unsupported network namespace {netns} needs root")


def test_a_setting_belongs_to_its_namespace(netns):
    own = sysctl.read("net/ipv4/ip_forward")
    other = "0" if own == "1" else "1"
    sysctl.write({"net/ipv4/ip_forward": other, "net/ipv4/conf/lo/rp_filter": 2}, netns)
    assert sysctl.read("net/ipv4/ip_forward", netns) == other
    assert sysctl.read("net/ipv4/conf/lo/rp_filter", netns) == "2"
    assert sysctl.read("net/ipv4/ip_forward") == own


@pytest.mark.parametrize(
    "key", ["", "net", "kernel/hostname", "net/../kernel", "net//x", "/net/x", "net/ipv4/a b"]
)
def test_keys_outside_the_network_are_refused(key):
    with pytest.raises(Invalid, match="network setting"):
        sysctl.read(key)


def test_what_the_kernel_does_not_have_or_take_is_unsupported(netns):
    with pytest.raises(Unsupported, match="no such setting"):
        sysctl.read("net/ipv4/conf/nowhere0/rp_filter", netns)
    with pytest.raises(Unsupported, match="cannot be set to many"):
        sysctl.write({"net/ipv4/ip_forward": "many"}, netns)

"""The whole way without a kernel: the installed launcher as a process, the socket, the agent."""

import json
import os
import socket
import threading
from contextlib import closing, suppress
from dataclasses import replace

import msgspec
import pytest

from cni_world import (
    NETWORK,
    FakeLinks,
    Runtime,
    agent_at,
    eventually,
    names,
    pod,
    store_with,
    workloads,
)
from korat.agent import cni
from korat.core.errors import Conflict, Invalid, NotFound, Problem, Unavailable, Unsupported
from korat.core.model.kubernetes.workload import interface_name
from korat.drivers.store.client import Client
from korat.drivers.store.memory import MemoryStore
from korat.drivers.store.sqlite import SqliteStore

HOST_NAME = interface_name("shop", "web")


@pytest.fixture
def runtime(tmp_path):
    return Runtime(tmp_path)


@pytest.fixture
def links():
    return FakeLinks()


@pytest.fixture
def work(links):
    return workloads(store_with(pod("web"), pod("db")), links)


def raising(error):
    def refuse():
        raise error

    return refuse


def line(runtime, command, **env):
    body = {"command": command, "env": env, "config": runtime.config}
    return msgspec.json.encode(body) + b"\n"


def talk(runtime, sent):
    """Speak to the socket without the plugin; returns all that comes back."""
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(10)
        link.connect(str(runtime.socket))
        link.sendall(sent)
        link.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: link.recv(65536), b""))


@pytest.mark.parametrize("version", ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"])
def test_every_command_of_every_version(runtime, work, links, version):
    with agent_at(runtime.socket, work):
        assert runtime.call("VERSION", cniVersion=version).out["supportedVersions"][-1] == "1.1.0"
        added = runtime.call("ADD", cniVersion=version)
        assert (added.code, added.out["cniVersion"], added.err) == (0, version, "")
        assert HOST_NAME in links.links
        checked = runtime.call("CHECK", cniVersion=version, prevResult=added.out)
        assert checked.code == (1 if version < "0.4.0" else 0)
        assert (checked.out is None) is (version >= "0.4.0"), "a passed CHECK prints nothing"
        valid = {"cni.dev/valid-attachments": [{"containerID": "c1", "ifname": "eth0"}]}
        for command in ("STATUS", "GC"):
            answer = runtime.call(command, cniVersion=version, **valid)
            assert answer.code == (0 if version == "1.1.0" else 1)
        for _ in range(2):
            deleted = runtime.call("DEL", cniVersion=version)
            assert (deleted.code, deleted.out) == (0, None)
        assert links.links == {}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Invalid([Problem("", "mtu", 3, "is too small")]), 7),
        (Unavailable("not now", "wait"), 11),
        (NotFound("no such pod"), 100),
        (Conflict("taken"), 101),
        (Unsupported("no veth"), 102),
        (RuntimeError("a defect"), 999),
    ],
)
def test_agents_errors_reach_the_runtime_as_cni_errors(runtime, work, error, code):
    with agent_at(runtime.socket, replace(work, ready=raising(error))):
        answer = runtime.call("ADD")
    assert (answer.code, answer.out["code"], answer.out["cniVersion"]) == (1, code, "1.0.0")
    assert str(error).split(";")[0] in answer.out["msg"]
    assert answer.out.get("details", "") == getattr(error, "remedy", "")


def test_status_of_a_node_that_is_not_ready_is_code_50(runtime, work):
    with agent_at(runtime.socket, replace(work, ready=lambda: "the store is not in sync")):
        answer = runtime.call("STATUS", cniVersion="1.1.0")
    assert (answer.code, answer.out["code"]) == (1, 50)
    assert "not in sync" in answer.out["msg"]


def test_del_while_the_agent_is_away_is_done_when_it_comes(runtime, work, links):
    with agent_at(runtime.socket, work):
        assert runtime.call("ADD").code == 0
    assert not runtime.socket.exists(), "an agent that ended left its socket"
    deleted = runtime.call("DEL")
    assert (deleted.code, deleted.out) == (0, None)
    assert names(runtime.queue) == ["c1@eth0.json"]
    assert HOST_NAME in links.links
    with agent_at(runtime.socket, work):
        assert eventually(lambda: not names(runtime.queue))
    assert links.links == {}


def test_del_that_the_store_cannot_take_is_queued_and_tried_again(
    runtime, work, links, monkeypatch
):
    monkeypatch.setattr(cni, "_RETRY_S", 0.02)
    away = threading.Event()

    class Store(type(work.store)):
        def list(self, kinds=()):
            if away.is_set():
                raise Unavailable("the store is away")
            return super().list(kinds)

    work.store.__class__ = Store
    with agent_at(runtime.socket, work):
        assert runtime.call("ADD").code == 0
        away.set()
        assert runtime.call("DEL").code == 0
        assert links.links == {}
        assert names(runtime.queue) == ["c1@eth0.json"]
        assert names(runtime.folder / "ipam" / NETWORK)[0] == "10.10.128.2"
        away.clear()
        assert eventually(lambda: not names(runtime.queue))
    assert "10.10.128.2" not in names(runtime.folder / "ipam" / NETWORK)


@pytest.mark.parametrize("body", [b"nonsense", b"{}", b""])
def test_queued_file_that_is_no_deletion_is_put_aside(runtime, work, body):
    runtime.queue.mkdir(parents=True)
    (runtime.queue / "a@eth0.json").write_bytes(body)
    (runtime.queue / "b@eth0.json").write_bytes(line(runtime, "ADD", CNI_CONTAINERID="b"))
    (runtime.queue / "c@eth0.json.123").write_bytes(b"unfinished")
    with agent_at(runtime.socket, work):
        assert eventually(
            lambda: names(runtime.queue) == ["a@eth0.bad", "b@eth0.bad", "c@eth0.json.123"]
        )
        assert runtime.call("ADD").code == 0


def test_queued_deletion_that_can_never_be_done_is_put_aside(runtime, work):
    runtime.queue.mkdir(parents=True)
    runtime.config["ipam"]["dataDir"] = "relative"
    body = line(runtime, "DEL", CNI_CONTAINERID="a", CNI_IFNAME="eth0")
    (runtime.queue / "a@eth0.json").write_bytes(body)
    with agent_at(runtime.socket, work):
        assert eventually(lambda: names(runtime.queue) == ["a@eth0.bad"])


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"", 7),
        (b"nonsense\n", 7),
        (b'{"command":"ADD"}\n', 7),
        (b"{}", 7),
        (b'{"command":"EXPLODE","config":{"cniVersion":"1.0.0","name":"a"}}\n', 7),
        (b"x" * (3 << 20), 7),
    ],
    ids=["nothing", "word", "half", "no-end", "unknown", "long"],
)
def test_socket_answers_nonsense_with_an_error_and_goes_on(runtime, work, sent, code):
    with agent_at(runtime.socket, work):
        try:
            assert json.loads(talk(runtime, sent))["error"]["code"] == code
        except (BrokenPipeError, ConnectionResetError):
            assert len(sent) > 1 << 20, "only a line that is too long is cut off"
        assert runtime.call("ADD").code == 0


def test_only_root_may_open_the_socket(runtime, work):
    with agent_at(runtime.socket, work):
        assert runtime.socket.stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_caller_who_is_not_root_gets_no_answer(runtime, work):
    """Even where the file's mode would let them; the child is forked before there are threads."""
    go_out, go_in = os.pipe()
    said_out, said_in = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.read(go_out, 1)
            os.chdir(runtime.socket.parent)
            os.setuid(65534)
            with socket.socket(socket.AF_UNIX) as link:
                link.connect(runtime.socket.name)
                os.write(said_in, b"connected,")
                with suppress(ConnectionError):
                    link.sendall(line(runtime, "STATUS"))
                    os.write(said_in, link.recv(65536))
        finally:
            os._exit(0)
    os.close(said_in)
    with agent_at(runtime.socket, work):
        runtime.socket.chmod(0o666)
        os.write(go_in, b"!")
        os.waitpid(child, 0)
        assert os.read(said_out, 100) == b"connected,"
    for pipe in (go_out, go_in, said_out):
        os.close(pipe)


def test_second_agent_is_refused_and_a_dead_ones_socket_is_taken_over(runtime, work):
    runtime.socket.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(runtime.socket))
    with agent_at(runtime.socket, work):
        with pytest.raises(Conflict, match="another agent"), agent_at(runtime.socket, work):
            pytest.fail("two agents at one socket")
        assert runtime.call("ADD").code == 0


def test_one_workloads_requests_come_one_after_the_other(runtime, work):
    """Two ADDs of each of two pods: every ADD meets one of the other pod, none its own."""
    inside, met, lock = set(), [], threading.Lock()
    two = threading.Barrier(2, timeout=10)

    def wait_programmed(key, _):
        with lock:
            inside.add(key.name)
        two.wait()
        with lock:
            met.append(len(inside))
        two.wait()
        with lock:
            inside.discard(key.name)
        return True

    with agent_at(runtime.socket, replace(work, wait_programmed=wait_programmed)):
        callers = [
            threading.Thread(target=runtime.call, args=("ADD", container), kwargs={"pod_name": p})
            for p in ("web", "db")
            for container in ("first", "second")
        ]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
    assert met == [2, 2, 2, 2]


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_many_pods_at_once(runtime, links, kind):
    store = MemoryStore() if kind == "memory" else SqliteStore(runtime.folder / "korat.db")
    for number in range(12):
        Client(store).create(pod(f"p{number}"))
    answers = []
    with closing(store), agent_at(runtime.socket, workloads(store, links)):
        callers = [
            threading.Thread(
                target=lambda n=n: answers.append(runtime.call("ADD", f"c{n}", pod_name=f"p{n}"))
            )
            for n in range(12)
        ]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
    assert all(answer.code == 0 for answer in answers)
    assert len({answer.out["ips"][0]["address"] for answer in answers}) == 12

"""DEL without an agent: queued on disk, limited, and never lost between two lines."""

import io
import json
import socket
import threading

import pytest

from cni_world import names
from korat.cni import spool
from korat.cni.main import run


def environ(container="abc", ifname="eth0"):
    return {"CNI_COMMAND": "DEL", "CNI_CONTAINERID": container, "CNI_IFNAME": ifname}


def delete(folder, program="korat", **env):
    config = {"cniVersion": "1.0.0", "name": "net", "agent_socket": str(folder / "agent.sock")}
    out = io.StringIO()
    code = run(environ(**env), io.BytesIO(json.dumps(config).encode()), out, program)
    return code, json.loads(out.getvalue()) if out.getvalue() else None


def test_request_is_kept_whole_and_only_for_root(tmp_path):
    assert delete(tmp_path) == (0, None)
    (path,) = (tmp_path / "cni-del").iterdir()
    kept = json.loads(path.read_text())
    assert path.name == "abc@eth0.json"
    assert (kept["program"], kept["command"]) == ("korat", "DEL")
    assert kept["env"] == {"CNI_CONTAINERID": "abc", "CNI_IFNAME": "eth0"}
    assert kept["config"]["name"] == "net"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_second_del_of_one_interface_replaces_the_first(tmp_path):
    for ifname in ("eth0", "eth0", "eth1"):
        assert delete(tmp_path, ifname=ifname)[0] == 0
    assert names(tmp_path / "cni-del") == ["abc@eth0.json", "abc@eth1.json"]


def test_two_programs_of_one_chain_are_kept_apart(tmp_path):
    for program in ("korat", "korat-policy"):
        assert delete(tmp_path, program)[0] == 0
    assert names(tmp_path / "cni-del") == ["abc@eth0.json", "korat-policy@abc@eth0.json"]


def test_full_folder_makes_the_runtime_try_again(tmp_path, monkeypatch):
    monkeypatch.setattr(spool, "MAX_FILES", 1)
    assert delete(tmp_path, container="one")[0] == 0
    code, out = delete(tmp_path, container="two")
    assert (code, out["code"]) == (1, 11)
    assert names(tmp_path / "cni-del") == ["one@eth0.json"]


def test_folder_that_cannot_be_made_is_an_error_not_a_success(tmp_path):
    (tmp_path / "cni-del").write_text("a file, not a folder")
    code, out = delete(tmp_path)
    assert (code, out["code"]) == (1, 11)


@pytest.mark.parametrize(
    ("reply", "kept"),
    [(b'{"result":null}\n', 0), (b"", 1)],
    ids=["agent-has-come-up", "agent-still-away"],
)
def test_agent_that_comes_up_meanwhile_is_asked_once_more(tmp_path, reply, kept):
    """The first connection is broken off, as by an agent that ends; the second gets ``reply``."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "agent.sock"))
        listener.listen()
        listener.settimeout(5)

        def agent():
            for answer in (b"", reply):
                link, _ = listener.accept()
                with link:
                    link.recv(65536)
                    link.sendall(answer)

        thread = threading.Thread(target=agent)
        thread.start()
        assert delete(tmp_path) == (0, None)
        thread.join(10)
    assert len(names(tmp_path / "cni-del")) == kept


@pytest.mark.parametrize(
    "reply", [b"nonsense\n", b"[]\n", b'{"error":{}}\n', b'{"error":7}\n', b"x" * (2 << 20)]
)
def test_answer_that_is_not_the_agents_is_an_error(tmp_path, reply):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "agent.sock"))
        listener.listen()
        listener.settimeout(5)

        def agent():
            link, _ = listener.accept()
            with link:
                link.recv(65536)
                try:
                    link.sendall(reply)
                except OSError:
                    return

        thread = threading.Thread(target=agent)
        thread.start()
        code, out = delete(tmp_path)
        thread.join(10)
    assert (code, out["code"]) == (1, 11)

"""What ``install`` writes, and that it starts fast."""

import json
import subprocess
import sys

import pytest

import processor_time
from cni_world import names
from korat.cni.install import IPAM, install, launcher


def test_program_and_conflist(tmp_path):
    options = {"mtu": 1400, "agent_socket": "/x/agent.sock"}
    program, conflist = install(tmp_path / "bin", tmp_path / "net", options, network="n1")
    assert (program.name, conflist.name) == ("korat", "10-korat.conflist")
    assert program.stat().st_mode & 0o777 == 0o755
    assert conflist.stat().st_mode & 0o777 == 0o644
    assert json.loads(conflist.read_text()) == {
        "cniVersion": "1.0.0",
        "name": "n1",
        "plugins": [
            {
                "type": "korat",
                "mtu": 1400,
                "ipam": {"type": "host-local", "subnet": "usePodCidr"},
                "agent_socket": "/x/agent.sock",
            }
        ],
    }
    assert len(names(tmp_path / "net")) == 1, "an unfinished file is left"


def test_an_mtu_is_not_written_so_that_the_agent_chooses(tmp_path):
    _, conflist = install(tmp_path, tmp_path, {"ipam": IPAM["calico-ipam"]})
    (plugin,) = json.loads(conflist.read_text())["plugins"]
    assert (plugin["mtu"], plugin["ipam"]) == (0, {"type": "calico-ipam"})


def test_again_replaces(tmp_path):
    install(tmp_path, tmp_path, {"mtu": 1})
    _, conflist = install(tmp_path, tmp_path, {"mtu": 2})
    assert json.loads(conflist.read_text())["plugins"][0]["mtu"] == 2


@pytest.mark.parametrize("python", ["/a path/python", "/" + "x" * 130])
def test_python_that_no_first_line_can_name_is_refused(python):
    with pytest.raises(ValueError, match="first line"):
        launcher(python)


def test_program_is_isolated_from_its_callers_environment(tmp_path):
    program, _ = install(tmp_path / "bin", tmp_path / "net")
    (tmp_path / "json.py").write_text("raise SystemExit('hijacked')")
    env = {"CNI_COMMAND": "VERSION", "PYTHONPATH": str(tmp_path), "PYTHONHOME": "/nowhere"}
    done = subprocess.run(
        [program], env=env, cwd=tmp_path, capture_output=True, check=True, timeout=20
    )
    assert json.loads(done.stdout)["cniVersion"] == "1.1.0"


def test_start_costs_little_more_than_pythons_own(tmp_path):
    """A ratio of processor times, in turns: what else the machine does lengthens both."""
    program, _ = install(tmp_path / "bin", tmp_path / "net")

    def cost_s(argv, **env):
        before_s = processor_time.of_children_s()
        subprocess.run(argv, env=env, capture_output=True, check=True, timeout=60)
        return processor_time.of_children_s() - before_s

    bare = [sys.executable, "-IS", "-c", "import json, socket"]
    pairs = [(cost_s([program], CNI_COMMAND="VERSION"), cost_s(bare)) for _ in range(9)]
    assert min(plugin for plugin, _ in pairs) < 3 * min(own for _, own in pairs)


def test_program_imports_nothing_slow(tmp_path):
    code = (
        "import sys; sys.path.append(sys.argv[1]); import korat.cni.main;"
        "print(*sorted(sys.modules))"
    )
    source = launcher(sys.executable).split("sys.path.append('")[1].split("'")[0]
    done = subprocess.run(
        [sys.executable, "-IS", "-c", code, source], capture_output=True, check=True, text=True
    )
    loaded = set(done.stdout.split())
    assert "korat.cni.main" in loaded
    assert not loaded & {"dataclasses", "pathlib", "inspect", "asyncio", "msgspec", "subprocess"}

"""How long the lab takes: nine pods with four ports each, half of them denied."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from lab_world import lab

pytestmark = pytest.mark.lab

PORTS = (7001, 7002, 7003, 7004)
DENIED = (7001, 7003)


def pod(number: int) -> dict[str, object]:
    ports = [{"name": f"p{port}", "containerPort": port} for port in PORTS]
    meta = {"name": f"pod-{number}", "namespace": "grid"}
    containers = [{"name": "c", "image": "none", "ports": ports}]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"containers": containers}}


@pytest.mark.timed
def test_a_lab_of_nine_pods_is_up_in_15_s_and_probed_in_5_s(tmp_path: Path) -> None:
    """The issue's own bounds, each with room to spare on two busy cores."""
    policy = {
        "apiVersion": "projectcalico.org/v3",
        "kind": "NetworkPolicy",
        "metadata": {"name": "odd", "namespace": "grid"},
        "spec": {
            "ingress": [
                {"action": "Deny", "protocol": "TCP", "destination": {"ports": list(DENIED)}},
                {"action": "Allow"},
            ]
        },
    }
    file = tmp_path / "grid.json"
    file.write_text(json.dumps({"kind": "List", "items": [*map(pod, range(9)), policy]}))
    begun = time.monotonic()
    with lab("grid", [file]) as grid:
        up_s = time.monotonic() - begun
        begun = time.monotonic()
        results = grid.probe()
        probe_s = time.monotonic() - begun
        few_files = [
            "/bin/sh",
            "-c",
            f"ulimit -n 256; exec {sys.executable} -m korat lab probe -o json",
        ]
        told = subprocess.run(
            few_files, env={**os.environ, "KORAT_LAB": grid.name}, capture_output=True, check=True
        ).stdout
    expected = {"denied": 9 * 8 * len(DENIED), "allowed": 9 * 8 * (len(PORTS) - len(DENIED))}
    assert Counter(results.values()) == expected
    assert Counter(p["result"] for p in json.loads(told)) == expected
    assert up_s < 15
    assert probe_s < 5

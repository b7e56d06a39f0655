"""The labs of a benchmark: found by its number alone, and filled with what is measured."""

import io

import pytest

from bench import lab as subject
from bench.lab import GUARDED, PORT, manifest, name_of, names_of
from korat.cli import manifest as files
from korat.core.model.kubernetes.workload import endpoint_of
from korat.core.model.pod import Pod
from korat.core.model.resource import Metadata
from korat.core.net.address import Addr
from korat.core.policy.cluster import Cluster
from korat.core.policy.evaluate import verdict
from korat.core.policy.match import Packet
from korat.core.policy.outcome import Action
from korat.drivers.kernel import namespace
from korat.lab.state import LabPaths

PID_MAX = 4_194_304  # the kernel's own limit


def test_a_name_is_one_for_the_lab_whatever_the_number():
    names = {LabPaths(name_of(pid, n)).name for pid in (1, PID_MAX) for n in range(8)}
    assert len(names) == 16


def test_only_the_benchmarks_own_labs_are_found_by_folder_or_by_namespace(tmp_path, monkeypatch):
    labs, rooms = tmp_path / "labs", tmp_path / "rooms"
    monkeypatch.setattr(subject, "ROOT", labs)
    monkeypatch.setattr(namespace, "RUN_DIR", rooms)
    assert names_of(12) == ()
    for name in (name_of(12, 0), name_of(12, 1), name_of(123, 0), name_of(1, 2), "lab"):
        (labs / name).mkdir(parents=True)
    rooms.mkdir()
    for room in ("korat-kt12o1-vm1", "korat-kt12o3-pod-0a1b", "korat-kt1o2-vm1", "korat-lab-vm1"):
        (rooms / room).touch()
    assert names_of(12) == ("kt12o0", "kt12o1", "kt12o3")


@pytest.fixture
def cluster(monkeypatch):
    """What the manifest says, with pods as CNI makes endpoints of them, and one that starts."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(manifest().encode())))
    found = [r for item in files.read(["-"]) for r in item.resources]
    started = {f"{asks}-1": Pod(metadata=meta(f"{asks}-1", asks)) for asks in ("open", GUARDED)}
    pods = {pod.metadata.name: pod for pod in found if isinstance(pod, Pod)} | started
    addresses = {name: Addr.parse(f"10.0.0.{number}") for number, name in enumerate(pods, 1)}
    endpoints = [
        endpoint_of(pod, "vm", name, (f"{addresses[name]}/32",), f"cali{name}", "")
        for name, pod in pods.items()
    ]
    made = Cluster.build([*(r for r in found if not isinstance(r, Pod)), *endpoints])
    assert made.problems == ()
    return made, addresses


def meta(name, asks):
    return Metadata(name=name, namespace="bench", labels={"asks": asks})


@pytest.mark.parametrize(
    ("source", "target", "port", "allowed"),
    [
        ("open-1", "open", PORT, True),
        ("sender", "open", 8081, True),
        ("guarded-1", "guarded", PORT, True),
        ("guarded-1", "guarded", PORT + 1, False),
        ("guarded-1", "open", PORT, False),
        ("open-1", "guarded", PORT, False),
        ("sender", "guarded", PORT, False),
    ],
)
def test_the_policy_allows_exactly_what_is_asked(cluster, source, target, port, allowed):
    made, addresses = cluster
    packet = Packet(addresses[source], addresses[target], 6, sport=40000, dport=port)
    assert (verdict(made, packet).action is Action.ALLOW) == allowed

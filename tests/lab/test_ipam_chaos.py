"""Pods that come and go at random, and agents killed meanwhile: no address leaks for ever.

``KORAT_CHAOS`` is the number of pods that are added and deleted; 1000 of each take some minutes.
"""

import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from korat.core.model.pod import Pod
from korat.drivers.store.client import Client
from korat.drivers.store.open import open_store
from korat.lab.state import LabPaths, alive, read_state, store_environ
from lab_world import Lab, lab, pods

pytestmark = pytest.mark.lab

MOVES = int(os.environ.get("KORAT_CHAOS", "80"))
#: At most so many pods at a time, so that as many go as come.
ROOM = 40
BATCH = 8
SETTLED_S = 60.0
NODES = ("vm1", "vm2", "vm3")


@pytest.fixture
def made() -> Iterator[Lab]:
    with lab("chaos", nodes=len(NODES), more=("--mode", "vxlan")) as found:
        yield found


class Chaos:
    """What is done to a lab, drawn from one seed."""

    def __init__(self, made: Lab, dice: random.Random) -> None:
        self._made = made
        self._paths = LabPaths(made.name)
        self._dice = dice
        self._number = 0
        self.store = open_store(store_environ(self._paths))
        self.there: set[str] = set()
        self.done: Counter[str] = Counter()

    def add(self) -> None:
        names = [f"pod-{self._number + n}" for n in range(self._dice.randint(1, BATCH))]
        self._number += len(names)
        rows = [("chaos", name, self._dice.choice(NODES), {}) for name in names]
        self._made.apply(pods(*rows))
        self.there.update(names)
        self.done["added"] += len(names)

    def remove(self) -> None:
        """Also pods that have only been asked for, and whose network is in the making."""
        some = self._dice.sample(sorted(self.there), self._dice.randint(1, len(self.there)))
        self._made.run("delete", "pods", "-n", "chaos", *some)
        self.there.difference_update(some)
        self.done["deleted"] += len(some)

    def kill(self) -> None:
        """One agent, as it stands; the lab starts it again."""
        agents = [p for p in read_state(self._paths).processes if p.role in NODES and alive(p)]
        if agents:
            os.kill(self._dice.choice(agents).pid, signal.SIGKILL)
            self.done["killed"] += 1

    def step(self) -> None:
        room = len(self.there) < ROOM and self.done["added"] < MOVES
        if room and (not self.there or self._dice.random() < 0.5):
            self.add()
        elif self.there:
            self.remove()
        if self._dice.random() < 0.3:
            self.kill()
        time.sleep(self._dice.random() * 0.5)

    def addresses(self) -> dict[str, str]:
        """Of each pod, empty where it does not run."""
        found = Client(self.store).read(["Pod"]).of("Pod")
        return {pod.metadata.name: pod.status.pod_ip for pod in found if isinstance(pod, Pod)}


def problems(made: Lab) -> str:
    """What ``ipam check`` finds, explained; empty when nothing is wrong."""
    said = made.run("ipam", "check", "--show-problem-ips").stdout
    return "" if "Check complete; found 0 problems." in said else said


def test_after_random_pods_and_killed_agents_nothing_has_leaked(made: Lab) -> None:
    seed = int(os.environ.get("KORAT_CHAOS_SEED", "1"))
    chaos = Chaos(made, random.Random(seed))
    with contextlib.closing(chaos.store):
        while chaos.done["deleted"] < MOVES:
            chaos.step()
            given = [address for address in chaos.addresses().values() if address]
            assert len(given) == len(set(given)), "an address was given twice"
        for _ in range(5):
            chaos.add()
        deadline = time.monotonic() + SETTLED_S
        while not all(chaos.addresses().values()) or problems(made):
            assert time.monotonic() < deadline, f"{chaos.done}, {problems(made)}"
            time.sleep(0.5)
        assert set(chaos.addresses()) == chaos.there
    assert chaos.done["killed"]
    assert set(made.probe().values()) == {"allowed"}

"""A running lab in the hands of one command: its state, its store, its pods, its probes."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from korat.drivers.store.client import Client
from korat.drivers.store.open import open_store
from korat.lab import probe, roster
from korat.lab.arm_client import AzureStatus, azure_status
from korat.lab.control import Request, ask
from korat.lab.overlay import NodeOverlay, overlay_of
from korat.lab.state import LabPaths, LabState, living_state, store_environ


@dataclass(frozen=True, slots=True)
class Change:
    """Which nodes came, went or were rebooted, which pods went along, and how long it took."""

    nodes: tuple[str, ...]
    pods: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Session:
    """What ``attach`` found; everything that changes is read when asked for."""

    paths: LabPaths
    state: LabState
    client: Client

    def pods(self) -> list[roster.LabPod]:
        """The pods by name, running or not."""
        return roster.pods_of(self.state, self.paths, self.client)

    def probe(self, wanted: roster.Wanted) -> list[probe.Probe]:
        """Try what was asked for, once the nodes enforce what is in the store.

        Raises:
            NotFound, Invalid: what was asked for makes no sense here.
            Unavailable: a node does not catch up.
        """
        roster.settle(self.state, self.paths, self.client.store)
        return probe.run(roster.targets(self.pods(), wanted))

    def change(self, request: Request) -> Change:
        """Have nodes added, removed or rebooted; done when every node enforces what is stored.

        Raises:
            Unavailable: the daemon does not answer, or a node does not catch up.
            KoratError: the daemon refused, or could not.
        """
        begun = time.monotonic()
        answer = ask(self.paths, request)
        roster.settle(living_state(self.paths), self.paths, self.client.store)
        return Change(answer.nodes, answer.pods, time.monotonic() - begun)

    def azure(self) -> AzureStatus:
        """The lab's Azure as ARM tells it.

        Raises:
            Unavailable: ARM does not answer.
        """
        return azure_status(self.state)

    def overlay(self) -> Mapping[str, NodeOverlay]:
        """The nodes' parts of the overlay by name; none in a mode without one."""
        return overlay_of(self.state, self.paths, self.client)

    def environ(self) -> dict[str, str]:
        """What a program needs to use the lab's store and the lab's Azure."""
        return {
            "KORAT_LAB": self.state.name,
            **store_environ(self.paths),
            "KORAT_AZURE_CONFIG": self.state.azure_config,
            "KORAT_CLUSTER_CIDR": self.state.cluster_cidr,
            "AZURE_RESOURCE_MANAGER_URL": self.state.arm_url,
            **self.state.sdk_environ,
        }


def attach(paths: LabPaths) -> Session:
    """The running lab.

    Raises:
        NotFound: it is not up.
        Unavailable: it died.
    """
    return Session(paths, living_state(paths), Client(open_store(store_environ(paths))))

"""Announcing the VNet where no route controller does: soon again after an error, until told."""

import threading

import pytest

from azure_site import Site
from korat.controllers.announce import PERIOD_S, RETRY_S, VnetAnnouncer
from korat.core.model.builtin import INFORMATION
from korat.drivers.azure.network import AzureNetwork
from korat.drivers.store.memory import MemoryStore
from korat.lab.arm.fault import Faults

WAIT_S = 10.0


@pytest.fixture
def cloud(site: Site) -> AzureNetwork:
    return AzureNetwork(site.client, site.config)


def announced(store: MemoryStore) -> bool:
    return any(b"10.10.0.0/16" in record.value for record in store.list([INFORMATION]).records)


def test_an_azure_that_refuses_is_asked_soon_again(site: Site, cloud: AzureNetwork):
    store = MemoryStore()
    announcer = VnetAnnouncer(store, cloud)
    site.server.arm.faults = Faults(fail_next=1, status=403, code="AuthorizationFailed")
    assert announcer.turn() == RETRY_S
    assert not announced(store)
    assert announcer.turn() == PERIOD_S
    assert announced(store)
    assert site.writes() == []


def test_it_runs_until_it_is_told_to_stop(cloud: AzureNetwork):
    store = MemoryStore()
    announcer = VnetAnnouncer(store, cloud)
    thread = threading.Thread(target=announcer.run)
    with store.watch(0) as watch:
        thread.start()
        while not announced(store):
            assert watch.poll(WAIT_S), "nothing is written"
    announcer.stop()
    thread.join(WAIT_S)
    assert not thread.is_alive()

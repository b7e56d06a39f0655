"""The operations on addresses on every store, by several threads and several nodes at once."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from ipam_world import World
from korat.core.errors import Conflict
from korat.drivers.store import ipam
from korat.drivers.store.memory import MemoryStore
from korat.drivers.store.sqlite import SqliteStore


@pytest.fixture(params=["memory", "sqlite"])
def world(request, tmp_path):
    store = MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "korat.db")
    yield World(store)
    store.close()


def test_several_nodes_at_once_never_share_an_address(world):
    world.pool(cidr="10.0.0.0/24", blockSize=29)

    def pods(host):
        given = []
        for each in range(20):
            name = f"{host}-{each}"
            given += world.addresses(host=host, handle=name)
            if each % 3 == 2:
                given.remove(world.release_handle(name)[0])
        return given

    with ThreadPoolExecutor(4) as pool:
        given = [addr for found in pool.map(pods, ["n1", "n2", "n3", "n4"]) for addr in found]
    assert not [addr for addr, times in Counter(given).items() if times > 1]
    assert sorted(given) == sorted(world.held())
    assert sorted(world.handles()) == sorted(set(world.held().values()))


def test_several_threads_of_one_node_fill_a_pool_to_its_last_address(world):
    world.pool(cidr="10.0.0.0/27", blockSize=30)

    def pod(each):
        return world.addresses(handle=f"p{each}")

    with ThreadPoolExecutor(4) as pool:
        given = [addr for found in pool.map(pod, range(32)) for addr in found]
    assert len(set(given)) == len(given) == 32


def test_an_error_that_an_operation_does_not_catch_is_its_callers(world):
    world.pool()
    world.assign_ip("10.0.0.1", handle="h")
    with pytest.raises(Conflict, match=r"10.0.0.1 is already assigned to h"):
        world.assign_ip("10.0.0.1")


def test_now_goes_on_and_its_dice_differ():
    first, second = ipam.now(), ipam.now()
    assert first.now_ns <= second.now_ns
    assert first.dice != second.dice

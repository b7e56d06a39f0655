"""The settings in their two places."""

import pytest

from ipam_steps import Act
from ipam_world import World, made
from korat.core.errors import Invalid
from korat.core.ipam.request import read
from korat.core.ipam.setting import SETTING_KEYS, Settings, configure, settings_in
from korat.core.model.codec import dump
from korat.core.model.ipam import CONFIG_KEY


@pytest.fixture
def world():
    return World()


def held(world):
    def look():
        return settings_in((yield from read(*SETTING_KEYS)))

    return world.run(look())


def test_nothing_stored_is_calicos_default(world):
    assert held(world) == Settings(strict_affinity=False, auto_allocate_blocks=True)


def test_a_field_that_a_stored_config_does_not_name_is_off(world):
    """Calico's own trap: autoAllocateBlocks too."""
    world.put("IPAMConfig", "default", {"strict_affinity": True})
    assert held(world) == Settings(strict_affinity=True, auto_allocate_blocks=False)


def test_the_one_that_was_written_last_counts(world):
    world.put("IPAMConfig", "default", {"auto_allocate_blocks": True, "maxBlocksPerHost": 3})
    assert held(world).max_blocks_per_host == 3
    world.put("IPAMConfiguration", "default", {"maxBlocksPerHost": 5, "ipCooldownSeconds": 9})
    assert held(world) == Settings(max_blocks_per_host=5, cooldown_s=9)
    config = made("IPAMConfig", "default", {"auto_allocate_blocks": True, "maxBlocksPerHost": 7})
    (record,) = world.store.list([CONFIG_KEY]).records
    world.store.update(CONFIG_KEY, dump(config), record.revision)
    assert held(world).max_blocks_per_host == 7


def test_configure_writes_both_where_both_are_there(world):
    wanted = Settings(strict_affinity=True, max_blocks_per_host=4, cooldown_s=60)
    assert world.run(configure(wanted)) == Settings()
    assert world.names("IPAMConfiguration") == []
    world.put("IPAMConfiguration", "default", {}, labels={"kept": "yes"})
    before = world.run(configure(wanted))
    assert before == Settings()
    (own,) = world.objects("IPAMConfiguration")
    assert own.metadata.labels == {"kept": "yes"}
    assert own.spec.max_blocks_per_host == 4
    (config,) = world.objects("IPAMConfig")
    assert (config.spec.strict_affinity, config.spec.ip_cooldown_seconds) == (True, 60)
    revision = world.store.list().revision
    assert world.run(configure(wanted)) == wanted
    assert world.store.list().revision == revision


def test_when_it_is_cut_off_between_the_two_the_new_ones_hold(world):
    world.put("IPAMConfiguration", "default", {})
    wanted = Settings(strict_affinity=True)
    act = Act("configure", configure(wanted))
    act.step(world.store)
    act.step(world.store)
    act.die()
    assert held(world) == wanted


@pytest.mark.parametrize(
    ("wanted", "fields"),
    [
        (Settings(auto_allocate_blocks=False), ["strictAffinity"]),
        (Settings(max_blocks_per_host=1), ["maxBlocksPerHost"]),
        (
            Settings(auto_allocate_blocks=False, max_blocks_per_host=1),
            ["strictAffinity", "maxBlocksPerHost"],
        ),
    ],
)
def test_what_calico_refuses_is_refused(world, wanted, fields):
    with pytest.raises(Invalid) as caught:
        world.run(configure(wanted))
    assert [problem.field for problem in caught.value.problems] == fields
    assert world.names("IPAMConfig") == []

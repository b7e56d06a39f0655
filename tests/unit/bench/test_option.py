"""The options that are compared: the lab knows them all, and there are samples enough."""

import pytest

from bench.option import ALL, TWO, Option
from bench.plan import FULL, QUICK, SMOKE
from korat.lab.blueprint import Options, blueprint
from korat.lab.mode import MODES


@pytest.mark.parametrize("option", ALL, ids=lambda option: option.name)
def test_the_lab_takes_every_option(option):
    assert blueprint(Options(mode=option.mode, beside=option.beside, nodes=2)).vms


def test_every_mode_of_the_lab_is_compared_without_anybody_beside():
    assert [option.mode for option in ALL if not option.beside] == list(MODES)


def test_an_option_is_named_and_asked_for():
    option = Option("flannel", "flanneld")
    assert option.name == "flannel beside flanneld"
    assert option.words == ("--mode", "flannel", "--beside", "flanneld")
    assert Option("udr").words == ("--mode", "udr")


def test_plans_have_samples_for_a_median_or_are_quick():
    assert min(FULL.option.rounds, FULL.option.starts) >= 9
    assert {plan.option.options for plan in (QUICK, SMOKE)} == {TWO}
    assert FULL.scaled(0.1).option == FULL.option

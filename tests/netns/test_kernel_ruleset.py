"""A real kernel takes what ``Ruleset`` prints, and a diff leaves what a fresh load leaves.

One namespace for the module; no packets.
"""

import os

import pytest
from hypothesis import given

from korat.core.errors import Conflict, NotFound, Unsupported
from korat.core.render.nft.diff import diff, stages
from korat.core.render.nft.ruleset import Ruleset
from korat.drivers.kernel import namespace
from korat.drivers.kernel.nft import Feature, Nft
from strategies_nft import rulesets

pytestmark = pytest.mark.netns


@pytest.fixture(scope="module")
def nft():
    name = f"kt-{os.getpid()}-ruleset"
    namespace.create(name)
    try:
        with namespace.run_in(name, Nft) as handle:
            yield handle
    finally:
        namespace.remove(name)


def contents(nft):
    """The kernel's table without what says only when it was made."""
    return sorted((_plain(each) for each in nft.list_json()), key=repr)


def _plain(value):
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in sorted(value.items()) if k != "handle"} | (
            {"elem": sorted(map(_plain, value["elem"]), key=repr)} if "elem" in value else {}
        )
    return [_plain(each) for each in value] if isinstance(value, list) else value


def order_of_rules(nft):
    """Each chain's rules in order, which sorting has hidden."""
    rules = [each["rule"] for each in nft.list_json() if "rule" in each]
    chains = {rule["chain"] for rule in rules}
    return {c: [_plain(rule["expr"]) for rule in rules if rule["chain"] == c] for c in chains}


@given(rulesets(), rulesets())
def test_a_diff_leaves_the_kernel_as_a_fresh_load_does(nft, old, new):
    nft.apply(old.text)
    nft.apply(diff(old, new))
    found = contents(nft), order_of_rules(nft)
    nft.apply(new.text)
    assert found == (contents(nft), order_of_rules(nft))


@given(rulesets(), rulesets())
def test_the_stages_of_a_change_leave_the_same(nft, old, new):
    nft.apply(old.text)
    for stage in stages(old, new):
        nft.apply(stage)
    found = contents(nft), order_of_rules(nft)
    nft.apply(new.text)
    assert found == (contents(nft), order_of_rules(nft))


def test_everything_korat_needs_is_there(nft):
    assert nft.features() == frozenset(Feature)
    with pytest.raises(NotFound):
        nft.list_json("inet korat-probe")


class Poorer(Nft):
    """An nft whose kernel lacks logging and source NAT."""

    def _has(self, feature):
        return feature not in {Feature.LOG, Feature.FULLY_RANDOM} and super()._has(feature)


def test_a_missing_feature_is_one_sentence_with_the_remedy(nft):
    nft.require()
    with (
        Poorer() as poorer,
        pytest.raises(Unsupported, match="nftables here cannot do: log, fully random; korat needs"),
    ):
        poorer.require()


def test_a_transaction_is_all_or_nothing(nft):
    nft.apply(Ruleset().text)
    with pytest.raises(Conflict, match="in line 2: add rule inet korat nowhere accept"):
        nft.apply("add chain inet korat half\nadd rule inet korat nowhere accept\n")
    assert not [each for each in nft.list_json() if "chain" in each]


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("delete element inet korat m { 1.2.3.4 }", Conflict, "No such file or directory"),
        ("create chain inet korat c", Conflict, "File exists"),
        ("add rule inet korat c frobnicate", Unsupported, "syntax error"),
    ],
)
def test_refusals_say_which_line_and_why(nft, text, error, words):
    nft.apply(Ruleset().text + "add chain inet korat c\n")
    nft.apply("add map inet korat m { type ipv4_addr : verdict; }\n")
    with pytest.raises(error, match=words) as caught:
        nft.apply(f"add chain inet korat other\n{text}\n")
    assert "line" in str(caught.value)


def test_a_missing_table_is_not_found(nft):
    with pytest.raises(NotFound, match="no table inet elsewhere"):
        nft.list_json("inet elsewhere")


def test_a_closed_handle_says_so_and_closes_twice():
    handle = Nft()
    handle.close()
    handle.close()
    with pytest.raises(Exception, match="closed"):
        handle.apply("add table inet korat\n")


def test_a_handle_stays_with_the_namespace_it_was_made_in(nft):
    nft.apply(Ruleset().text)
    other = f"kt-{os.getpid()}-other"
    namespace.create(other)
    try:
        with namespace.run_in(other, Nft) as elsewhere, pytest.raises(NotFound):
            elsewhere.list_json()
        assert nft.list_json()
    finally:
        namespace.remove(other)

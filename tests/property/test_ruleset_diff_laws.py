"""Laws of ``diff``: it leads from any table to any other, in an order the kernel takes.

It is empty for equal tables, and a change of one element is one line.
"""

from hypothesis import given
from hypothesis import strategies as st

from korat.core.render.nft.check import check
from korat.core.render.nft.diff import diff, stages
from korat.core.render.nft.key import Type
from korat.core.render.nft.ruleset import Ruleset, VerdictMap
from korat.core.render.nft.statement import DROP
from nft_transaction import Table
from strategies_nft import rulesets


@given(rulesets(), rulesets())
def test_a_diff_leads_from_any_table_to_any_other(old, new):
    check(old)
    table, wanted = Table(), Table()
    table.apply(old.text)
    wanted.apply(new.text)
    table.apply(diff(old, new))
    assert table == wanted


@given(rulesets(), rulesets())
def test_the_stages_lead_there_and_nothing_is_new_or_gone_where_packets_are(old, new):
    """A packet under way sees either side of a commit: what it can come to must be on both.

    Counters come and go with the elements that name them.
    """

    def places(names):
        return {name for name in names if not name.startswith("counter ")}

    table, wanted = Table(), Table()
    table.apply(old.text)
    wanted.apply(new.text)
    lasting = {n for n in old.chains.keys() & new.chains.keys() if old.chains[n].base}
    for stage in stages(old, new):
        before, held = table.reached(lasting), table.names()
        table.apply(stage)
        if not stage.startswith("add table"):
            assert places(table.reached(lasting)) <= held
            assert places(before) <= table.names()
    assert table == wanted


@given(rulesets())
def test_a_diff_of_equals_is_empty_and_of_the_unknown_is_everything(ruleset):
    again = Ruleset(dict(ruleset.lookups), dict(ruleset.chains), dict(ruleset.counters))
    assert diff(ruleset, again) == ""
    assert diff(None, ruleset) == ruleset.text
    assert stages(ruleset, again) == ()
    assert stages(None, ruleset) == (ruleset.text,)


@given(st.sets(st.integers(0, 50)), st.integers(0, 50))
def test_one_element_is_one_line(numbers, number):
    def table(elements):
        return Ruleset({"hosts": VerdictMap((Type.IPV4,), {(n,): DROP for n in elements})}, {})

    without, with_it = table(numbers - {number}), table(numbers | {number})
    assert diff(without, with_it) == f"add element inet korat hosts {{ 0.0.0.{number} : drop }}\n"
    assert diff(with_it, without) == f"delete element inet korat hosts {{ 0.0.0.{number} }}\n"

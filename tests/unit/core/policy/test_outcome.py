import pytest

from korat.core.model.key import Key
from korat.core.policy.outcome import Direction, RuleRef

IN, OUT = Direction.INGRESS, Direction.EGRESS
REFS = {
    "ingress default NetworkPolicy shop/web rule 0": RuleRef.rule(
        IN, "default", Key("NetworkPolicy", "shop", "web"), 0
    ),
    "egress default NetworkPolicy shop/web rule 0": RuleRef.rule(
        OUT, "default", Key("NetworkPolicy", "shop", "web"), 0
    ),
    "ingress ops GlobalNetworkPolicy web rule 12": RuleRef.rule(
        IN, "ops", Key("GlobalNetworkPolicy", "", "web"), 12
    ),
    "egress ops tier default": RuleRef.tier_default(OUT, "ops"),
    "ingress Profile kns.shop rule 1": RuleRef.profile_rule(IN, "kns.shop", 1),
    "ingress Profile kns.shop missing": RuleRef.profile_missing(IN, "kns.shop"),
    "egress no profile matched": RuleRef.no_profile_matched(OUT),
}


@pytest.mark.parametrize(("text", "ref"), REFS.items(), ids=REFS)
def test_text(text, ref):
    assert ref.text == str(ref) == text


def test_references_are_values():
    assert len({*REFS.values(), *map(RuleRef.tier_default, (IN, IN), ("a", "a"))}) == len(REFS) + 1

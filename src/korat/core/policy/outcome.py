"""What policy says about a packet in one direction, and which rule said so.

These are the values that the evaluator, the plain sequence, the verdict tables, the renderers and
``explain`` share; nothing here decides anything.
Source: felix/rules/endpoints.go (the order in which a workload endpoint's policy is asked).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

from typing_extensions import override

from korat.core.model.key import Key


class Direction(Enum):
    """Seen from the workload: ingress comes to it, egress leaves it."""

    INGRESS = "ingress"
    EGRESS = "egress"


class PolicySet(Enum):
    """Which of the four sets of a host endpoint's policies; a workload has the normal one only."""

    UNTRACKED = "untracked"
    PRE_DNAT = "pre-DNAT"
    NORMAL = "normal"
    FORWARD = "forward"


class Action(Enum):
    """The end of every judgement."""

    ALLOW = "allow"
    DENY = "deny"


class Reason(Enum):
    """What kind of thing decided, or wrote a log line."""

    RULE = "rule"
    TIER_DEFAULT = "tier default"
    STAGED_DEFAULT = "staged tier default"
    PROFILE_RULE = "profile rule"
    PROFILE_MISSING = "profile missing"
    NO_PROFILE_MATCHED = "no profile matched"
    FAILSAFE = "failsafe"
    FAILSAFE_REPLY = "failsafe reply"
    UNDECIDED = "undecided"
    UNASKED = "no host endpoint"
    TO_HOST = "DefaultEndpointToHostAction"
    WIRESERVER = "koratPodsToWireserver"
    INSTANCE_METADATA = "koratPodsToInstanceMetadata"


@dataclass(frozen=True, slots=True)
class RuleRef:
    """Who decided. Made by its class methods only, so that the fields always fit the reason.

    ``policy`` is the key of the policy or the profile; ``index`` counts the rules of that policy
    and direction from 0.
    """

    direction: Direction
    tier: str
    policy: Key | None
    index: int | None
    reason: Reason

    @classmethod
    def rule(cls, direction: Direction, tier: str, policy: Key, index: int) -> "RuleRef":
        """Rule ``index`` of a policy."""
        return cls(direction, tier, policy, index, Reason.RULE)

    @classmethod
    def tier_default(cls, direction: Direction, tier: str) -> "RuleRef":
        """The default action of a tier whose policies did not decide: Deny or Pass."""
        return cls(direction, tier, None, None, Reason.TIER_DEFAULT)

    @classmethod
    def staged_default(cls, direction: Direction, tier: str, policy: Key) -> "RuleRef":
        """What the tier would do by default if this staged policy, which did not decide, counted.

        Only a tier in which nothing but staged policies governs the endpoint has any.
        """
        return cls(direction, tier, policy, None, Reason.STAGED_DEFAULT)

    @classmethod
    def profile_rule(cls, direction: Direction, profile: str, index: int) -> "RuleRef":
        """Rule ``index`` of a profile."""
        return cls(direction, "", profile_key(profile), index, Reason.PROFILE_RULE)

    @classmethod
    def profile_missing(cls, direction: Direction, profile: str) -> "RuleRef":
        """The endpoint names a profile that does not exist, which denies everything."""
        return cls(direction, "", profile_key(profile), None, Reason.PROFILE_MISSING)

    @classmethod
    def no_profile_matched(cls, direction: Direction) -> "RuleRef":
        """Neither a tier nor a profile decided."""
        return cls(direction, "", None, None, Reason.NO_PROFILE_MATCHED)

    @classmethod
    def failsafe(cls, direction: Direction, index: int, *, reply: bool = False) -> "RuleRef":
        """Entry ``index`` of the node's failsafe ports, or a reply to what another list let by."""
        reason = Reason.FAILSAFE_REPLY if reply else Reason.FAILSAFE
        return cls(direction, "", None, index, reason)

    @classmethod
    def undecided(cls, direction: Direction) -> "RuleRef":
        """A host endpoint's policies left it open, in a set that hinders nothing by itself."""
        return cls(direction, "", None, None, Reason.UNDECIDED)

    @classmethod
    def unasked(cls, direction: Direction) -> "RuleRef":
        """No host endpoint is asked about an interface, which hinders nothing."""
        return cls(direction, "", None, None, Reason.UNASKED)

    @classmethod
    def to_host(cls) -> "RuleRef":
        """The setting that says what becomes of a workload's traffic to its node."""
        return cls(Direction.INGRESS, "", None, None, Reason.TO_HOST)

    @classmethod
    def wireserver(cls) -> "RuleRef":
        """The setting that says whether workloads reach Azure's wireserver."""
        return cls(Direction.EGRESS, "", None, None, Reason.WIRESERVER)

    @classmethod
    def instance_metadata(cls) -> "RuleRef":
        """The setting that says whether workloads reach Azure's instance metadata."""
        return cls(Direction.EGRESS, "", None, None, Reason.INSTANCE_METADATA)

    @property
    def decides(self) -> bool:
        """Whether policy said it, and not merely let it go on to where others are asked."""
        return self.reason not in _LETTING_BY

    @property
    def text(self) -> str:
        """One short stable line, unique per reference.

        ``ingress default NetworkPolicy shop/web rule 0``, ``egress default tier default``.
        """
        return f"{self.direction.value} {self._place()}"

    def _place(self) -> str:
        words = _WORDS.get(self.reason)
        return words(self) if words else self.reason.value

    @override
    def __str__(self) -> str:
        return self.text


_LETTING_BY = frozenset({Reason.FAILSAFE, Reason.FAILSAFE_REPLY, Reason.UNDECIDED, Reason.UNASKED})
_WORDS: Mapping[Reason, Callable[[RuleRef], str]] = {
    Reason.RULE: lambda ref: f"{ref.tier} {ref.policy} rule {ref.index}",
    Reason.TIER_DEFAULT: lambda ref: f"{ref.tier} tier default",
    Reason.STAGED_DEFAULT: lambda ref: f"{ref.tier} {ref.policy} tier default",
    Reason.PROFILE_RULE: lambda ref: f"{ref.policy} rule {ref.index}",
    Reason.PROFILE_MISSING: lambda ref: f"{ref.policy} missing",
    Reason.FAILSAFE: lambda ref: f"failsafe {ref.index}",
    Reason.FAILSAFE_REPLY: lambda ref: f"failsafe reply {ref.index}",
}


def profile_key(name: str) -> Key:
    """The key of a profile by its name, which is how endpoints refer to it."""
    return Key("Profile", "", name)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A verdict, who gave it, and what was passed on the way, in order.

    ``logs`` are the Log rules. ``staged`` is what staged policies would have done: of each that
    was asked the first rule that matches and is no Log, or what stands for its tier's default.
    ``passes`` are the Pass rules, and the defaults of tiers that pass what they do not decide.
    """

    action: Action
    ref: RuleRef
    logs: tuple[RuleRef, ...] = ()
    staged: tuple[RuleRef, ...] = ()
    passes: tuple[RuleRef, ...] = ()

    @property
    def counted(self) -> tuple[RuleRef, ...]:
        """Everybody whose counter such a packet adds to, each once."""
        return (*self.passes, *self.logs, *self.staged, self.ref)

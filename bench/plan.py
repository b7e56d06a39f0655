"""How large a run is: what ``make bench`` and ``make bench-quick`` measure."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from bench.cluster import Shape
from bench.option import ALL, TWO, OptionPlan
from bench.storefile import StoreFiles

_LOCAL = 250
_BASE_POLICIES = 200


def _size(focus: int, remote: int) -> Shape:
    """A cluster in which so many policies select the driven pods."""
    return Shape(remote=remote, local=_LOCAL, policies=_BASE_POLICIES, focus=focus)


@dataclass(frozen=True, slots=True)
class Plan:
    """Sizes and numbers of samples. ``budget_s`` bounds the samples of one latency row."""

    sizes: tuple[Shape, ...]
    cluster: Shape
    rounds: int
    windows: int  # of connections, in a slice
    flow_turns: int  # of half a MiB, in a slice
    changes: int
    burst: int
    bursts: int
    starts: int
    budget_s: float
    load_limit_s: float  # for an agent to put a whole cluster into the kernel
    plain_limit_s: float
    option: OptionPlan

    def scaled(self, scale: float) -> "Plan":
        """The same with smaller clusters; sizes that would become alike are one."""
        sizes = {size.focus: size for size in (size.scaled(scale) for size in self.sizes)}
        return replace(
            self,
            sizes=tuple(sizes.values()),
            cluster=self.cluster.scaled(scale),
            burst=max(10, round(self.burst * scale)),
        )


#: As issue 3 asks.
FULL = Plan(
    sizes=(_size(1, 100), _size(100, 1_000), _size(1_000, 10_000), _size(10_000, 100_000)),
    cluster=Shape(remote=100_000, local=_LOCAL, policies=2_000, focus=10),
    rounds=31,
    windows=24,
    flow_turns=1024,
    changes=300,
    burst=8_000,
    bursts=9,
    starts=9,
    budget_s=300,
    load_limit_s=1_200,
    plain_limit_s=600,
    option=OptionPlan(ALL, rounds=31, flow_turns=1024, windows=32, starts=21, nodes=3),
)
#: Every row within two minutes on two processors; too small to judge by.
QUICK = Plan(
    sizes=(_size(1, 100), _size(100, 500)),
    cluster=Shape(remote=1_000, local=50, policies=40, focus=4),
    rounds=9,
    windows=8,
    flow_turns=128,
    changes=9,
    burst=200,
    bursts=9,
    starts=9,
    budget_s=8,
    load_limit_s=30,
    plain_limit_s=10,
    option=OptionPlan(TWO, rounds=9, flow_turns=32, windows=2, starts=3, nodes=0),
)
#: Whether it works at all, in seconds: for tests.
SMOKE = replace(
    QUICK,
    sizes=(_size(1, 10).scaled(0.02), replace(_size(4, 20).scaled(0.02), focus=4, remote=20)),
    cluster=Shape(remote=20, local=3, policies=4, focus=2),
    rounds=3,
    windows=2,
    flow_turns=16,
    changes=2,
    burst=10,
    bursts=1,
    starts=1,
    option=OptionPlan(TWO, rounds=2, flow_turns=8, windows=1, starts=1, nodes=0),
)


@dataclass(frozen=True, slots=True)
class Context:
    """What every row is given: the plan, the store files, where profiles go, and whom to tell."""

    plan: Plan
    files: StoreFiles
    profile: Path | None
    say: Callable[[str], None]

    def profile_of(self, name: str) -> Path | None:
        """Where the profile of this name goes, if one is wanted."""
        return self.profile / name if self.profile else None

"""The networking options that are compared, and how much is measured of each: data."""

from dataclasses import dataclass

from korat.lab.mode import AZURE_CNI, AZURE_VNET, FLANNEL, FLANNELD, UDR, VXLAN


@dataclass(frozen=True, slots=True)
class Option:
    """One option, as ``korat lab up`` is asked for it; ``beside`` names another's program."""

    mode: str
    beside: str = ""

    @property
    def name(self) -> str:
        """How rows name it."""
        return f"{self.mode} beside {self.beside}" if self.beside else self.mode

    @property
    def words(self) -> tuple[str, ...]:
        """What ``korat lab up`` is told."""
        beside = ("--beside", self.beside) if self.beside else ()
        return ("--mode", self.mode, *beside)


@dataclass(frozen=True, slots=True)
class OptionPlan:
    """How much: ``flow_turns`` of half a MiB and ``windows`` of connections in a slice.

    ``starts`` is how many pods of each kind are started, and ``nodes`` how many nodes are added,
    in each lab.
    """

    options: tuple[Option, ...]
    rounds: int
    flow_turns: int
    windows: int
    starts: int
    nodes: int


#: Another's program beside korat changes how a pod starts, not how its packets go.
ALL = (
    Option(UDR),
    Option(VXLAN),
    Option(FLANNEL),
    Option(FLANNEL, FLANNELD),
    Option(AZURE_CNI),
    Option(AZURE_CNI, AZURE_VNET),
)
TWO = (Option(UDR), Option(VXLAN))

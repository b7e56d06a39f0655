"""Which of the node's CNI programs a request is for: it says the name it was started under."""

from dataclasses import dataclass
from typing import Any, Protocol

from korat.agent.workload_request import Request
from korat.cni.request import PLUGIN, POLICY_PLUGIN
from korat.core.errors import Invalid, Problem


class Program(Protocol):
    """The commands of one program."""

    def add(self, request: Request) -> dict[str, Any]:
        """Carry out ADD and return CNI's result."""

    def delete(self, request: Request) -> None:
        """Carry out DEL."""

    def check(self, request: Request) -> None:
        """Carry out CHECK."""

    def gc(self, request: Request) -> None:
        """Carry out GC."""

    def status(self, request: Request) -> None:
        """Carry out STATUS."""


@dataclass(frozen=True, slots=True)
class Programs:
    """Both of them, as one.

    Each method raises Invalid for a program that there is not, and what the program raises.
    """

    network: Program
    policy: Program

    def add(self, request: Request) -> dict[str, Any]:
        """Carry out ADD and return CNI's result."""
        return self._of(request).add(request)

    def delete(self, request: Request) -> None:
        """Carry out DEL."""
        self._of(request).delete(request)

    def check(self, request: Request) -> None:
        """Carry out CHECK."""
        self._of(request).check(request)

    def gc(self, request: Request) -> None:
        """Carry out GC."""
        self._of(request).gc(request)

    def status(self, request: Request) -> None:
        """Carry out STATUS."""
        self._of(request).status(request)

    def _of(self, request: Request) -> Program:
        match request.program:
            case name if name == PLUGIN:
                return self.network
            case name if name == POLICY_PLUGIN:
                return self.policy
            case other:
                rule = f"is not {PLUGIN} or {POLICY_PLUGIN}"
                raise Invalid([Problem("CNI request", "program", other, rule)])

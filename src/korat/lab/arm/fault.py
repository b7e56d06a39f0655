"""Faults that a test or ``korat lab fault`` injects into ARM's answers."""

from dataclasses import dataclass

from korat.lab.arm.error import ArmError

_WRITES = ("PUT", "PATCH", "DELETE")


@dataclass(slots=True)
class Faults:
    """Switches to flip while ARM runs; ``fail_next`` counts itself down.

    ``latency_s`` delays every answer. The next ``fail_next`` requests (writes, when
    ``writes_only``) are answered with ``status`` and ``code``; with ``in_operation`` the request is
    accepted and its operation fails instead; what was there before stays as it was.
    """

    latency_s: float = 0.0
    fail_next: int = 0
    status: int = 503
    code: str = "ServiceUnavailable"
    message: str = "A fault of the lab."
    retry_after: str = ""
    writes_only: bool = False
    in_operation: bool = False

    def take(self, method: str, *, in_operation: bool) -> ArmError | None:
        """The failure of this request, if it is its turn."""
        if self.fail_next <= 0 or self.in_operation is not in_operation:
            return None
        if (self.writes_only or in_operation) and method not in _WRITES:
            return None
        self.fail_next -= 1
        return ArmError(self.status, self.code, self.message)

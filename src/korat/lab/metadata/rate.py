"""How often each VM may ask: Azure's limits, counted per client.

Pure: the time is a parameter. Not safe for several threads at once.
"""

from dataclasses import dataclass, field

INSTANCE_RATE = 5.0
"""Requests per second and VM that IMDS answers."""

IDENTITY_RATE = 20.0
"""Requests per second and VM for tokens."""


@dataclass(slots=True)
class Rate:
    """So many requests per second for each client, as many at once after a quiet second."""

    per_second: float
    _left: dict[str, tuple[float, float]] = field(default_factory=dict)

    def allows(self, client: str, now: float) -> bool:
        """Count one request at ``now``, in seconds of any clock that never goes back."""
        left, since = self._left.get(client, (self.per_second, now))
        left = min(self.per_second, left + (now - since) * self.per_second)
        self._left[client] = (left - 1 if left >= 1 else left, now)
        return left >= 1

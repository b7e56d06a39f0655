"""The steps of plans for Azure: one write to ARM each, and how a person reads it.

A step carries everything its driver needs and the reason for it. Applying a step twice is harmless.
"""

from dataclasses import dataclass, replace

from typing_extensions import override

from korat.core.route.effective import TableRoute
from korat.core.route.network import name_of


@dataclass(frozen=True, slots=True)
class CreateTable:
    """Make the cluster's route table."""

    table_id: str
    location: str

    @override
    def __str__(self) -> str:
        return f"+ create route table {name_of(self.table_id)} in {self.location}"


@dataclass(frozen=True, slots=True)
class DeleteRoute:
    """Remove exactly this route; one of the same name with another prefix stays."""

    route: TableRoute
    why: str

    @override
    def __str__(self) -> str:
        return f"- delete route {self.route} ({self.why})"


@dataclass(frozen=True, slots=True)
class PutRoute:
    """Write a route; ``was`` is the route of that name that it replaces."""

    route: TableRoute
    was: TableRoute | None = None

    @override
    def __str__(self) -> str:
        if self.was is None:
            return f"+ add route {self.route}"
        return f"~ change route {self.route} (was {self.was})"


@dataclass(frozen=True, slots=True)
class EnableForwarding:
    """Switch Azure's source and destination check of a NIC off."""

    interface_id: str

    @override
    def __str__(self) -> str:
        return f"~ enable IP forwarding on NIC {name_of(self.interface_id)}"


@dataclass(frozen=True, slots=True)
class Associate:
    """Give a subnet that has no route table the cluster's one."""

    subnet_id: str
    table_id: str

    @override
    def __str__(self) -> str:
        table, subnet = name_of(self.table_id), name_of(self.subnet_id)
        return f"+ associate route table {table} with subnet {subnet}"


@dataclass(frozen=True, slots=True)
class AddAddresses:
    """Give a NIC more secondary IPv4 addresses of a subnet, whichever are free there.

    ``total`` is how many addresses it is to have, so that done twice the step adds nothing;
    ``had`` is how many it had.
    """

    interface_id: str
    subnet_id: str
    had: int
    total: int

    @property
    def count(self) -> int:
        """How many more."""
        return self.total - self.had

    @property
    def halved(self) -> "AddAddresses":
        """The same with half as many more; of one nothing is left."""
        return replace(self, total=self.had + self.count // 2)

    @override
    def __str__(self) -> str:
        nic, subnet = name_of(self.interface_id), name_of(self.subnet_id)
        plural = "es" if self.count > 1 else ""
        has = f"{self.had} -> {self.total}"
        return f"+ add {self.count} address{plural} of subnet {subnet} to NIC {nic} ({has})"


Step = CreateTable | DeleteRoute | PutRoute | EnableForwarding | Associate | AddAddresses

"""Long-running operations: the forms in which ARM says "not yet", and what each poll answers.

The lab's writes are done when they are accepted; an operation only tells a client so in the form
that the client must understand. ``Style`` chooses the form per method and how many polls see the
operation in progress, so that tests can walk through every form and the lab stays fast.

Source: azure-core's LRO pollers, and ARM's asynchronous operations page.
"""

import uuid
from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum

from korat.lab.arm.error import ArmError
from korat.lab.arm.model import Json

KEPT = 1000
"""How many finished operations can still be asked for."""


class Form(Enum):
    """How an answer announces its operation."""

    DONE = "no operation: the answer is final"
    BODY = "provisioningState Updating in the body, no header"
    ASYNC = "Azure-AsyncOperation header"
    LOCATION = "Location header"
    BOTH = "Azure-AsyncOperation and Location headers"


@dataclass(frozen=True, slots=True)
class Style:
    """The forms of PUT, DELETE and POST, and how long an operation seems to take.

    ``retry_after_ms`` is how long a client shall wait between looks. Azure itself says whole
    seconds; SDKs take 0 for absent and wait 30 s.
    """

    put: Form = Form.ASYNC
    delete: Form = Form.BOTH
    post: Form = Form.LOCATION
    polls: int = 0
    retry_after_ms: int = 1000

    @property
    def waiting(self) -> dict[str, str]:
        """The header of an unfinished answer; ``Retry-After`` itself cannot say less than 1 s."""
        if self.retry_after_ms % 1000:
            return {"x-ms-retry-after-ms": str(self.retry_after_ms)}
        return {"Retry-After": str(self.retry_after_ms // 1000)}


@dataclass(slots=True)
class Operation:
    """One operation: the polls it has left, then its result or its failure."""

    id: str
    polls: int
    result: Json | None = None
    failure: ArmError | None = None

    def poll(self) -> bool:
        """Count one look; whether the operation is over."""
        if self.polls > 0:
            self.polls -= 1
            return False
        return True


class Operations:
    """The operations of one ARM, the oldest forgotten first."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, Operation] = OrderedDict()
        self._updating: dict[str, int] = {}

    def start(
        self, polls: int, result: Json | None = None, failure: ArmError | None = None
    ) -> Operation:
        """Remember a new operation."""
        operation = Operation(str(uuid.uuid4()), polls, result, failure)
        self._known[operation.id] = operation
        while len(self._known) > KEPT:
            self._known.popitem(last=False)
        return operation

    def find(self, operation_id: str) -> Operation:
        """An operation by its id.

        Raises:
            ArmError: it never was, or is forgotten.
        """
        operation = self._known.get(operation_id)
        if operation is None:
            raise ArmError(404, "OperationNotFound", f"Operation {operation_id} was not found.")
        return operation

    def update(self, resource_id: str, polls: int) -> None:
        """Let the next ``polls`` reads of a resource say Updating."""
        if polls > 0:
            self._updating[resource_id.lower()] = polls

    def state(self, resource_id: str) -> str:
        """The provisioning state that one read of the resource sees."""
        key = resource_id.lower()
        left = self._updating.pop(key, 0)
        if left > 1:
            self._updating[key] = left - 1
        return "Updating" if left else "Succeeded"


def status_body(operation: Operation, *, over: bool) -> Json:
    """What the Azure-AsyncOperation URL answers."""
    if not over:
        return {"status": "InProgress"}
    if operation.failure is not None:
        return {"status": "Failed", **operation.failure.body}
    return {"status": "Succeeded"}

"""ARM's error answers: a status, a code that programs test, a message that people read."""

from typing_extensions import override


class ArmError(Exception):
    """An answer other than success; raised anywhere below the HTTP layer."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message

    @override
    def __str__(self) -> str:
        return f"{self.status} {self.code}: {self.message}"

    @property
    def body(self) -> dict[str, object]:
        """The JSON of the answer."""
        return {"error": {"code": self.code, "message": self.message, "details": []}}


def bad_request(code: str, message: str) -> ArmError:
    """A request that breaks a rule of the resource provider."""
    return ArmError(400, code, message)


def not_found(kind: str, name: str, group: str) -> ArmError:
    """A top-level resource that is not there."""
    where = f"Microsoft.Network/{kind}/{name}' under resource group '{group}"
    return ArmError(404, "ResourceNotFound", f"The Resource '{where}' was not found.")


def child_not_found(resource_id: str) -> ArmError:
    """A route or subnet that is not in its parent."""
    return ArmError(404, "NotFound", f"Resource {resource_id} not found.")

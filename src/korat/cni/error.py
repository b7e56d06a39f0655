"""The CNI error object and the codes the plugin itself uses.

Not for the errors of the work, which the agent maps and the plugin only prints.
Source: CNI specification 1.1.0, section 4 "Error".
"""

INCOMPATIBLE_VERSION = 1
INVALID_ENVIRONMENT = 4
IO_FAILURE = 5
DECODING_FAILURE = 6
INVALID_CONFIG = 7
TRY_AGAIN_LATER = 11
NOT_AVAILABLE = 50


class CniError(Exception):
    """A failure as the runtime shall see it: a number, one sentence, and what more there is."""

    def __init__(self, code: int, msg: str, details: str = "") -> None:
        super().__init__(msg)
        self.code = code
        self.msg = msg
        self.details = details

    def as_json(self, version: str) -> "dict[str, object]":
        """The error object of the specification, for this version of it."""
        error: dict[str, object] = {"cniVersion": version, "code": self.code, "msg": self.msg}
        if self.details:
            error["details"] = self.details
        return error

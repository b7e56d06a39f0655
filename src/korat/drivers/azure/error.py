"""Azure's errors as korat's, at this one place."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
)

from korat.core.errors import Conflict, Invalid, KoratError, NotFound, Problem, Unavailable

_ACTION = re.compile(r"perform action '([^']+)'")


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Run calls of the SDK; ``what`` says in the error what was being done.

    Raises:
        KoratError: in place of any error of the SDK, which is chained.
    """
    try:
        yield
    except AzureError as error:
        raise translate(error, what) from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        # An answer of another shape than ARM's, from a proxy perhaps: it must end no program.
        said = f"{what}: Azure's answer is not what korat can read: {error}"
        raise Unavailable(said, "it is asked again") from error


def translate(error: AzureError, what: str) -> KoratError:
    """The korat error that tells the caller what to do next."""
    if isinstance(error, ClientAuthenticationError):
        remedy = "check useManagedIdentityExtension, or aadClientId and its secret, in azure.json"
        return Unavailable(f"{what}: Azure does not accept korat's identity", remedy)
    if not isinstance(error, HttpResponseError) or error.status_code is None:
        return Unavailable(f"{what}: Azure does not answer: {_sentence(error)}")
    code = error.error.code if error.error is not None else None
    said = f"{what}: {error.status_code} {code or error.reason}: {_sentence(error)}"
    match error.status_code:
        case 400:
            return Invalid([Problem("", "", None, said)])
        case 404:
            return NotFound(said)
        case 412:
            return Conflict(said)
        case status:
            return Unavailable(said, _permission_remedy(error) if status == 403 else "")  # noqa: PLR2004  HTTP's Forbidden


def _permission_remedy(error: AzureError) -> str:
    action = _ACTION.search(str(error))
    if action is None:
        return "an Azure policy or lock forbids it: ask the subscription's owner"
    return f"give korat's identity a role with the action {action.group(1)}"


def _sentence(error: AzureError) -> str:
    """The first line of what Azure says, without the SDK's prefix and addenda."""
    lines = [line.strip() for line in str(error.message).splitlines() if line.strip()]
    first = lines[0] if lines else type(error).__name__
    return re.sub(r"^\([A-Za-z]+\)\s*", "", first)

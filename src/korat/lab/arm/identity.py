"""What a VM's managed identity answers: a token that the lab's ARM takes.

A VM of the lab has one identity, its own; a request may name it, or none.

Source: Microsoft's "How to use managed identities for Azure resources on an Azure VM to acquire an
access token", which has the parameters, the answer and the errors.
"""

from collections.abc import Mapping

from korat.lab.arm.exchange import Answer

PATH = "/metadata/identity/oauth2/token"
CLIENT_ID = "00000000-0000-0000-0000-00000000001d"
TOKEN_LIFE_S = 86_400

_SELECTORS = ("client_id", "object_id", "principal_id", "msi_res_id", "mi_res_id")


def answer(token: str, query: Mapping[str, str], metadata: str, now: float) -> Answer:
    """Answer a request with this query and this ``Metadata`` header.

    ``now`` is in seconds since 1970. Every value of the answer is a string, as Azure's are.
    """
    if metadata.lower() != "true":
        return _refusal("Required metadata header not specified")
    if not query.get("resource") or not query.get("api-version"):
        return _refusal("Required query variable 'resource' or 'api-version' is missing")
    named = {name: query[name] for name in _SELECTORS if name in query}
    if named and named != {"client_id": CLIENT_ID}:
        return _refusal("Identity not found")
    body = {
        "access_token": token,
        "client_id": CLIENT_ID,
        "expires_in": str(TOKEN_LIFE_S),
        "expires_on": str(int(now) + TOKEN_LIFE_S),
        "ext_expires_in": str(TOKEN_LIFE_S),
        "not_before": str(int(now)),
        "resource": query["resource"],
        "token_type": "Bearer",
    }
    return Answer(200, body)


def _refusal(description: str) -> Answer:
    return Answer(400, {"error": "invalid_request", "error_description": description})

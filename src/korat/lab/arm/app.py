"""The lab's ARM and managed identity as ASGI applications: HTTP on one side, ``Arm`` on the other.

The identity application answers what ``azure.identity.ManagedIdentityCredential`` asks the
instance metadata service of a VM; its token is the one that ARM checks.
"""

import asyncio
import json
import time

from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from korat.lab.arm import identity
from korat.lab.arm.error import ArmError
from korat.lab.arm.exchange import Answer, Arm, Request
from korat.lab.arm.model import Json

_METHODS = ["GET", "PUT", "PATCH", "DELETE", "POST"]


def create_app(arm: Arm) -> Starlette:
    """ARM over HTTP."""

    async def serve(http: HttpRequest) -> Response:
        try:
            body = _body(await http.body())
        except ArmError as error:
            return _response(Answer(error.status, error.body))
        if arm.faults.latency_s > 0:
            await asyncio.sleep(arm.faults.latency_s)
        base = f"{http.url.scheme}://{http.url.netloc}"
        query = {key.lower(): value for key, value in http.query_params.items()}
        request = Request(http.method, http.url.path, query, http.headers, base, body)
        return _response(await asyncio.to_thread(arm.answer, request))

    return Starlette(routes=[Route("/{path:path}", serve, methods=_METHODS)])


def create_identity_app(token: str) -> Starlette:
    """The token endpoint of the instance metadata service."""

    async def serve(http: HttpRequest) -> Response:
        flag = http.headers.get("metadata", "")
        return _response(identity.answer(token, http.query_params, flag, time.time()))

    return Starlette(routes=[Route(identity.PATH, serve, methods=["GET"])])


def _body(raw: bytes) -> Json | None:
    if not raw:
        return None
    try:
        body = json.loads(raw)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise ArmError(400, "InvalidRequestContent", "The request body is not a JSON object.")
    return body


def _response(answer: Answer) -> Response:
    if answer.body is None:
        return Response(status_code=answer.status, headers=dict(answer.headers))
    return JSONResponse(answer.body, answer.status, dict(answer.headers))

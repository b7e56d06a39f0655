"""IMDS and the wireserver as ASGI applications: HTTP on one side, their rules on the other.

Who asks is known by the address that a request comes from, as on Azure, where the host knows it.
"""

import asyncio
import time
from collections.abc import Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from korat.lab.arm import identity
from korat.lab.arm.view import MachineView
from korat.lab.metadata import imds, wireserver
from korat.lab.metadata.rate import IDENTITY_RATE, INSTANCE_RATE, Rate

Finder = Callable[[str], MachineView | None]
"""The VM whose primary address this is."""

_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def create_imds(find: Finder, token: str) -> Starlette:
    """The instance metadata service; ``token`` is what managed identity hands out."""
    rates = {True: Rate(IDENTITY_RATE), False: Rate(INSTANCE_RATE)}

    async def serve(http: Request) -> Response:
        client, for_token = _client(http), http.url.path == identity.PATH
        question = imds.Question(http.method, http.url.path, http.query_params, http.headers)
        machine = await asyncio.to_thread(find, client)
        if machine is None:
            return Response(status_code=404)
        if not rates[for_token].allows(client, time.monotonic()):
            return _imds_response(imds.throttled())
        if for_token and question.method == "GET" and "x-forwarded-for" not in http.headers:
            flag = http.headers.get("metadata", "")
            answer = identity.answer(token, http.query_params, flag, time.time())
            return JSONResponse(answer.body, answer.status)
        return _imds_response(imds.refusal(question) or imds.reply(question, machine))

    return Starlette(routes=[Route("/{path:path}", serve, methods=_METHODS)])


def create_wireserver(find: Finder) -> Starlette:
    """The wireserver, which tells a VM the addresses of its NICs and nothing else."""

    async def serve(http: Request) -> Response:
        machine = await asyncio.to_thread(find, _client(http))
        if machine is None or http.url.path != wireserver.PATH:
            return Response(status_code=404)
        if http.method != "GET" or not wireserver.is_asked(http.url.path, http.query_params):
            return Response(status_code=400)
        return Response(wireserver.interfaces(machine), media_type="text/xml; charset=utf-8")

    return Starlette(routes=[Route("/{path:path}", serve, methods=_METHODS)])


def _client(http: Request) -> str:
    return http.client.host if http.client else ""


def _imds_response(reply: imds.Reply) -> Response:
    headers = dict(reply.headers or {})
    if isinstance(reply.body, str):
        return PlainTextResponse(reply.body, reply.status, headers)
    return JSONResponse(reply.body, reply.status, headers)

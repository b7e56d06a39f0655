"""One question to the agent over its unix socket, and the answer.

The wire: the plugin connects, writes one line of JSON ``{"program", "command", "env", "config"}``,
reads one line of JSON, ``{"result": ...}`` or ``{"error": {"code", "msg", "details"}}``, and
closes. Not for what to do when the agent is away: that depends on the command.
"""

import json
import socket
import time

from korat.cni.error import TRY_AGAIN_LATER, CniError
from korat.cni.request import Request

MAX_REPLY_BYTES = 1 << 20


class AgentAwayError(Exception):
    """The agent does not answer: not running, restarting, or stuck."""


def ask(request: Request) -> object:
    """The agent's result for this request.

    Raises:
        CniError: the agent refused, and this is its reason.
        AgentAwayError: there was no whole answer in time.
    """
    until = time.monotonic() + request.deadline_s
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
            link.settimeout(request.deadline_s)
            link.connect(request.socket)
            link.sendall(request.encoded())
            line = _line(link, until)
    except OSError as error:
        reason = error.strerror or "no answer in time"
        raise AgentAwayError(f"no agent answers at {request.socket}: {reason}") from error
    return _result(line)


def _line(link: socket.socket, until: float) -> bytes:
    line = bytearray()
    while not line.endswith(b"\n"):
        left = until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        link.settimeout(left)
        piece = link.recv(65536)
        if not piece:
            raise ConnectionResetError(0, "the agent closed the connection without an answer")
        line += piece
        if len(line) > MAX_REPLY_BYTES:
            raise CniError(TRY_AGAIN_LATER, "the agent's answer is too long")
    return bytes(line)


def _result(line: bytes) -> object:
    try:
        reply = json.loads(line)
        fault = reply.get("error")
        if fault is None:
            return reply.get("result")
        raise CniError(int(fault["code"]), str(fault["msg"]), str(fault.get("details", "")))
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise CniError(
            TRY_AGAIN_LATER, "the agent's answer is not what korat's agent answers", str(error)
        ) from error

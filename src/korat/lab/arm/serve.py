"""Runs the lab's ARM (HTTPS) and managed identity (HTTP) on loopback, in a thread."""

import asyncio
import datetime as dt
import secrets
import socket
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import uvicorn
from starlette.applications import Starlette
from typing_extensions import override

from korat.core.errors import Unavailable
from korat.lab.arm.app import create_app, create_identity_app
from korat.lab.arm.certificate import write_certificate
from korat.lab.arm.exchange import Arm
from korat.lab.arm.fault import Faults
from korat.lab.arm.model import Model
from korat.lab.arm.operations import Style

HOST = "127.0.0.1"
START_S = 10.0


@dataclass(frozen=True, slots=True)
class Ports:
    """Where to listen; 0 lets the kernel choose."""

    arm: int = 0
    identity: int = 0


class ArmServer:
    """Both endpoints over one model; use it as a context manager, or ``start`` and ``stop``.

    After ``start``: ``url``, ``identity_url`` and ``environment`` say how to reach it.
    """

    def __init__(
        self,
        model: Model,
        directory: Path,
        ports: Ports | None = None,
        *,
        faults: Faults | None = None,
        style: Style | None = None,
    ) -> None:
        """``directory`` gets the certificate and its key."""
        self.token = secrets.token_urlsafe(32)
        self.arm = Arm(model, self.token, faults=faults, style=style)
        self._directory = directory
        self._ports = ports or Ports()
        self._servers: tuple[_Server, ...] = ()
        self._sockets: list[socket.socket] = []
        self._thread: threading.Thread | None = None
        self.certificate_file = directory / "arm-certificate.pem"

    @property
    def url(self) -> str:
        """ARM's ``resourceManagerEndpoint``."""
        return f"https://{HOST}:{self._port(0)}"

    @property
    def identity_url(self) -> str:
        """The authority of managed identity."""
        return f"http://{HOST}:{self._port(1)}"

    @property
    def environment(self) -> dict[str, str]:
        """What an unmodified SDK needs in its environment."""
        return {
            "REQUESTS_CA_BUNDLE": str(self.certificate_file),
            "AZURE_POD_IDENTITY_AUTHORITY_HOST": self.identity_url,
        }

    def start(self) -> Self:
        """Listen; both endpoints answer when this returns.

        Raises:
            Unavailable: a port is taken, or the server did not come up.
        """
        now = dt.datetime.now(dt.UTC)  # noqa: TID251  the certificate starts now
        certificate, key = write_certificate(self._directory, now)
        for port in (self._ports.arm, self._ports.identity):
            self._sockets.append(self._listen(port))
        self._servers = (
            _Server(_config(create_app(self.arm), certificate, key)),
            _Server(_config(create_identity_app(self.token))),
        )
        self._thread = threading.Thread(target=self._serve, name="lab-arm", daemon=True)
        self._thread.start()
        for server in self._servers:
            if not server.ready.wait(START_S):
                self.stop()
                raise Unavailable("the lab's ARM did not start", f"look at {self._directory}")
        return self

    def stop(self) -> None:
        """Close both endpoints; stopping twice is fine."""
        for server in self._servers:
            server.should_exit = True
            server.force_exit = True  # clients keep idle connections; do not wait for them
        if self._thread is not None:
            self._thread.join(START_S)
        for listener in self._sockets:
            listener.close()
        self._servers, self._sockets, self._thread = (), [], None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _serve(self) -> None:
        async def both() -> None:
            pairs = zip(self._servers, self._sockets, strict=True)
            await asyncio.gather(*(server.serve(sockets=[sock]) for server, sock in pairs))

        asyncio.run(both())

    def _listen(self, port: int) -> socket.socket:
        # asyncio switches Nagle's delay off only where the protocol number is spelled out.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError as error:
            listener.close()
            self.stop()
            what = f"port {port} of {HOST} is taken: {error.strerror}"
            raise Unavailable(what, "choose another") from error
        return listener

    def _port(self, index: int) -> int:
        port: int = self._sockets[index].getsockname()[1]
        return port


class _Server(uvicorn.Server):
    """uvicorn's server with an event for "listening"."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    @override
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        connections = tuple(self.server_state.connections)
        await super().shutdown(sockets)
        for connection in connections:
            if connection.transport is not None:
                connection.transport.abort()  # TLS would wait for the client's farewell
        await asyncio.sleep(0)


def _config(
    app: Starlette, certificate: Path | None = None, key: Path | None = None
) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="off",
        loop="asyncio",
        log_config=None,
        access_log=False,
        server_header=False,
        ssl_certfile=certificate,
        ssl_keyfile=key,
    )

"""ASGI applications on sockets that listen already, all of them in one thread.

Whoever makes the sockets says where they are: on loopback, or in another network namespace.
"""

import asyncio
import socket
import threading
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from typing_extensions import override

from korat.core.errors import Unavailable

_START_S = 10.0


@dataclass(frozen=True, slots=True)
class Tls:
    """The files of a certificate and its key."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Site:
    """One application on one socket, in HTTPS when it has a certificate."""

    socket: socket.socket
    app: Starlette
    tls: Tls | None = None


class Serving:
    """The thread that serves these sites, from ``start`` to ``stop``; the sockets stay open."""

    def __init__(self, name: str, *sites: Site) -> None:
        """``name`` is the thread's."""
        self._sockets = [site.socket for site in sites]
        self._servers = [_Server(_config(site)) for site in sites]
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)

    def start(self) -> None:
        """Serve; every site answers when this returns.

        Raises:
            Unavailable: a server did not come up.
        """
        self._thread.start()
        for server in self._servers:
            if not server.ready.wait(_START_S):
                self.stop()
                raise Unavailable(f"the server {self._thread.name} did not start")

    def stop(self) -> None:
        """End every server, also with clients that keep idle connections."""
        for server in self._servers:
            server.should_exit = True
            server.force_exit = True
        self._thread.join(_START_S)

    def _serve(self) -> None:
        async def every() -> None:
            pairs = zip(self._servers, self._sockets, strict=True)
            await asyncio.gather(*(server.serve(sockets=[sock]) for server, sock in pairs))

        asyncio.run(every())


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


def _config(site: Site) -> uvicorn.Config:
    return uvicorn.Config(
        site.app,
        http="h11",
        ws="none",
        lifespan="off",
        loop="asyncio",
        log_config=None,
        access_log=False,
        server_header=False,
        ssl_certfile=site.tls.certificate if site.tls else None,
        ssl_keyfile=site.tls.key if site.tls else None,
    )

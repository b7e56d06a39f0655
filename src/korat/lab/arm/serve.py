"""Runs the lab's ARM (HTTPS) and managed identity (HTTP) on loopback, in a thread."""

import datetime as dt
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from korat.core.errors import Unavailable
from korat.lab.arm.app import create_app, create_identity_app
from korat.lab.arm.certificate import write_certificate
from korat.lab.arm.exchange import Arm
from korat.lab.arm.fault import Faults
from korat.lab.arm.model import Model
from korat.lab.arm.operations import Style
from korat.lab.serving import Serving, Site, Tls

HOST = "127.0.0.1"


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
        self._sockets: list[socket.socket] = []
        self._serving: Serving | None = None
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
        arm, identity = self._sockets
        self._serving = Serving(
            "lab-arm",
            Site(arm, create_app(self.arm), Tls(certificate, key)),
            Site(identity, create_identity_app(self.token)),
        )
        self._serving.start()
        return self

    def stop(self) -> None:
        """Close both endpoints; stopping twice is fine."""
        if self._serving is not None:
            self._serving.stop()
        for listener in self._sockets:
            listener.close()
        self._sockets, self._serving = [], None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

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

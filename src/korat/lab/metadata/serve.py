"""Serves IMDS and the wireserver at their addresses, inside the fabric's namespace.

The sockets live there and are served from a thread of the lab's daemon. Which packets reach them is
the fabric's business (``fabric.ruleset``): only those of a NIC's primary address.
"""

import socket

from korat.core.errors import Unavailable
from korat.core.net.address import Addr
from korat.drivers.kernel import namespace
from korat.lab.arm.model import Model
from korat.lab.arm.view import MachineView, machine_at
from korat.lab.fabric.platform import ENDPOINTS, IMDS
from korat.lab.metadata.app import create_imds, create_wireserver
from korat.lab.serving import Serving, Site

_BACKLOG = 128


class MetadataServer:
    """IMDS and the wireserver of one lab's virtual machines, as ARM has them at each request."""

    def __init__(self, model: Model, token: str, fabric: str) -> None:
        """``token`` is what managed identity hands out, ``fabric`` the fabric's namespace."""
        self._model = model
        self._token = token
        self._fabric = fabric
        self._sockets: list[socket.socket] = []
        self._serving: Serving | None = None

    def start(self) -> None:
        """Listen; every endpoint answers when this returns.

        Raises:
            NotFound: there is no such namespace.
            Unavailable: an address cannot be served.
        """
        imds, wireserver = create_imds(self._find, self._token), create_wireserver(self._find)
        sites = []
        for addr, port in ENDPOINTS:
            listener = namespace.socket_in(self._fabric, proto=socket.IPPROTO_TCP)
            self._sockets.append(listener)
            self._bind(listener, addr, port)
            sites.append(Site(listener, imds if addr == IMDS else wireserver))
        self._serving = Serving("lab-metadata", *sites)
        self._serving.start()

    def stop(self) -> None:
        """Close every endpoint; stopping twice is fine."""
        if self._serving is not None:
            self._serving.stop()
        for listener in self._sockets:
            listener.close()
        self._sockets, self._serving = [], None

    def _bind(self, listener: socket.socket, addr: Addr, port: int) -> None:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((str(addr), port))
            listener.listen(_BACKLOG)
        except OSError as error:
            self.stop()
            raise Unavailable(f"{addr}:{port} in {self._fabric}: {error.strerror}") from error

    def _find(self, client: str) -> MachineView | None:
        try:
            return machine_at(self._model, Addr.parse(client))
        except ValueError:  # no address: it did not come over the network
            return None

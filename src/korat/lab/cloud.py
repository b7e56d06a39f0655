"""The lab's Azure: ARM's objects, the endpoint that serves them, and the fabric they steer."""

import os
import threading

import msgspec

from korat.lab.arm.model import Model
from korat.lab.arm.serve import ArmServer
from korat.lab.arm.view import network_view
from korat.lab.azure import cloud_config, furnish
from korat.lab.blueprint import LOCATION, RESOURCE_GROUP, SUBSCRIPTION, Blueprint
from korat.lab.fabric.apply import Fabric
from korat.lab.state import LabPaths


class Cloud:
    """One lab's Azure. What a client changes in ARM steers packets before ARM answers."""

    def __init__(self, plan: Blueprint, paths: LabPaths) -> None:
        self._plan = plan
        self._paths = paths
        self._model = Model(SUBSCRIPTION, {RESOURCE_GROUP: LOCATION})
        self._fabric = Fabric(paths.name)
        self._applying = threading.Lock()
        self._server = ArmServer(self._model, paths.tls)

    def open(self) -> None:
        """Build the fabric, furnish ARM, serve it.

        Raises:
            Unsupported: this kernel lacks something.
            Unavailable: the endpoint cannot be served.
        """
        self._fabric.build()
        furnish(self._model, self._plan)
        self._apply()
        self._model.on_change(self._apply)
        self._paths.tls.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._server.start()
        config = msgspec.json.format(msgspec.json.encode(cloud_config(self._server.url)))
        descriptor = os.open(self._paths.azure_config, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(config + b"\n")

    @property
    def url(self) -> str:
        """ARM's endpoint."""
        return self._server.url

    @property
    def environ(self) -> dict[str, str]:
        """What an unmodified Azure SDK needs in its environment."""
        return self._server.environment

    def close(self) -> None:
        """End the endpoint, then the fabric and its virtual machines."""
        self._server.stop()
        self._fabric.close()

    def _apply(self) -> None:
        with self._applying:
            self._fabric.apply(network_view(self._model))

"""Serves metrics for Prometheus over HTTP, where the settings of the moment want them.

What the metrics are is their program's business; the server is the Prometheus library's.
"""

import threading
from typing import NamedTuple
from wsgiref.simple_server import WSGIServer

import structlog
from prometheus_client import CollectorRegistry, ProcessCollector, start_wsgi_server
from prometheus_client.registry import Collector

log = structlog.get_logger(__name__)

LOOPBACK = "127.0.0.1"


class Place(NamedTuple):
    """Where metrics are served, and whether the process's own are among them."""

    host: str
    port: int
    process: bool


class MetricsServer:
    """Serves a collector's metrics where the settings of the moment want them, or nowhere."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector
        self._place: Place | None = None
        self._running: tuple[WSGIServer, threading.Thread] | None = None
        self._failure = ""

    def move(self, place: Place | None) -> None:
        """Serve there from now on; a place that cannot be had is said once and tried again."""
        if place == self._place and (self._running or place is None):
            return
        self.close()
        self._place = place
        if place is None:
            return
        registry = CollectorRegistry()
        registry.register(self._collector)
        if place.process:
            ProcessCollector(registry=registry)
        try:
            self._running = start_wsgi_server(place.port, place.host, registry)
        except OSError as error:
            self._tell(f"{place.host} port {place.port}: {error.strerror or error}")
        else:
            self._failure = ""
            log.info("metrics are served", host=place.host, port=self.port)

    @property
    def port(self) -> int:
        """Where it listens now; 0 for nowhere."""
        return self._running[0].server_port if self._running else 0

    def close(self) -> None:
        """Serve no more."""
        if self._running is not None:
            server, thread = self._running
            server.shutdown()
            server.server_close()
            thread.join()
        self._running, self._place = None, None

    def _tell(self, failure: str) -> None:
        if failure != self._failure:
            log.error("metrics cannot be served", at=failure)
        self._failure = failure

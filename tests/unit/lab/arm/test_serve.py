"""The server: its files, its ports, its end."""

import socket
import stat
from pathlib import Path

import pytest

from azure_site import furnished
from korat.core.errors import Unavailable
from korat.lab.arm.serve import ArmServer, Ports


def test_the_key_is_for_its_owner_only_and_the_ports_close(tmp_path: Path):
    with ArmServer(furnished(0), tmp_path) as server:
        key = tmp_path / "arm-key.pem"
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        assert server.certificate_file.read_bytes().startswith(b"-----BEGIN CERTIFICATE")
        ports = [int(url.rpartition(":")[2]) for url in (server.url, server.identity_url)]
        for port in ports:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
    server.stop()
    for port in ports:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=5)


def test_it_starts_again_on_the_same_ports_in_the_same_directory(tmp_path: Path):
    with ArmServer(furnished(0), tmp_path) as first:
        ports = Ports(*(int(url.rpartition(":")[2]) for url in (first.url, first.identity_url)))
    with ArmServer(furnished(0), tmp_path, ports) as second:
        assert second.url == f"https://127.0.0.1:{ports.arm}"
        assert second.token != first.token


def test_a_taken_port_is_one_sentence(tmp_path: Path):
    with ArmServer(furnished(0), tmp_path) as first:
        port = int(first.url.rpartition(":")[2])
        with pytest.raises(Unavailable, match=f"port {port} of 127.0.0.1 is taken"):
            ArmServer(furnished(0), tmp_path, Ports(identity=port)).start()

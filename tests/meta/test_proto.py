"""The Python of etcd's messages is what protoc makes of the committed .proto file."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MADE = ("etcd_pb2.py", "etcd_pb2.pyi")


def test_etcds_messages_are_up_to_date(tmp_path):
    pytest.importorskip("grpc_tools", reason="grpcio-tools is not installed")
    subprocess.run([ROOT / "tools/proto.sh", sys.executable, tmp_path], cwd=ROOT, check=True)
    folder = Path("korat/drivers/etcd")
    for name in MADE:
        made, committed = tmp_path / folder / name, ROOT / "src" / folder / name
        assert made.read_text("utf-8") == committed.read_text("utf-8"), "run tools/proto.sh"

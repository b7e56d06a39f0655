#!/bin/sh
# Writes the Python of etcd's messages from src/korat/drivers/etcd/etcd.proto, into the source or,
# for the test that compares them, into another folder. Usage: tools/proto.sh PYTHON [FOLDER]
set -eu
python=${1:-.venv/bin/python}
folder=${2:-src}
"$python" -m grpc_tools.protoc --proto_path=src --python_out="$folder" --pyi_out="$folder" \
  src/korat/drivers/etcd/etcd.proto

#!/usr/bin/env bash
# Typed Python stubs of the API from proto/: generate.sh OUT_FOLDER [PYTHON]
set -euo pipefail
out=$1 python=${2:-python3}
proto=$(cd "$(dirname "$0")/../../../proto" && pwd)
mkdir -p "$out"
# Google's own messages come with googleapis-common-protos, generated.
"$python" -m grpc_tools.protoc -I "$proto" --python_out="$out" --pyi_out="$out" --grpc_python_out="$out" \
  kvault/v1/common.proto kvault/v1/contexts.proto kvault/v1/inference.proto kvault/v1/models.proto

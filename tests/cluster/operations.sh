#!/usr/bin/env bash
# `ottla cluster health|rebalance|decommission` on real nodes under load. Usage: operations.sh [OTTLA_BINARY]   (default: the release binary)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${OTTLA_CACHE:-$HOME/.cache/ottla}
"$cache/py/bin/python" "$here/operations.py" "${1:-${CARGO_TARGET_DIR:-$here/../../target}/release/ottla}"

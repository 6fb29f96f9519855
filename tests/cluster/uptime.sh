#!/usr/bin/env bash
# Servers that have run for an hour, for days and for weeks, by clocks that are set forward. Usage: uptime.sh [OTTLA_BINARY]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${OTTLA_CACHE:-$HOME/.cache/ottla}
"$cache/py/bin/python" "$here/uptime.py" "${1:-${CARGO_TARGET_DIR:-$here/../../target}/release/ottla}"

#!/usr/bin/env bash
# Restarts three nodes under load from the binary of one release to that of another, node by node, and back. Usage: upgrade.sh OLD NEW
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${OTTLA_CACHE:-$HOME/.cache/ottla}
"$cache/py/bin/python" "$here/upgrade.py" "$1" "$2"

#!/usr/bin/env bash
# Many partitions on three real servers: how long until all of them are led and take records after `kill -9` of one, and what their
# followers cost while nothing happens. Usage: many.sh [PARTITIONS [OTTLA_BINARY]]   (default: 10000, the release binary)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${OTTLA_CACHE:-$HOME/.cache/ottla}
ottla=${2:-${CARGO_TARGET_DIR:-$here/../../target}/release/ottla}
"$cache/py/bin/python" "$here/many.py" "$ottla" "${1:-10000}"

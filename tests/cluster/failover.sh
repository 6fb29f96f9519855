#!/usr/bin/env bash
# How long producers wait when the leader of their partition is killed or stopped, on three real servers; nothing that was acknowledged
# may be missing. Usage: failover.sh [ROUNDS [OTTLA_BINARY]]   (default: 3, the release binary)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${OTTLA_CACHE:-$HOME/.cache/ottla}
ottla=${2:-${CARGO_TARGET_DIR:-$here/../../target}/release/ottla}
"$cache/py/bin/python" "$here/failover.py" "$ottla" "${1:-3}"

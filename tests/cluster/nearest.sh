#!/usr/bin/env bash
# A librdkafka consumer with `client.rack` reads at the follower of its rack on three real servers, at the leader while that follower is
# dead, and there again once it is back, and misses nothing. Usage: nearest.sh [OTTLA_BINARY]   (default: the release binary)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${OTTLA_CACHE:-$HOME/.cache/ottla}
ottla=${1:-${CARGO_TARGET_DIR:-$here/../../target}/release/ottla}
"$cache/py/bin/python" "$here/nearest.py" "$ottla"

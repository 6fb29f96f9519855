#!/usr/bin/env bash
# 5,000 idle connections and 500 busy ones on one broker: see connections.py. OTTLA names the server's binary; without it
# the broker alone is built. Usage: connections.sh [IDLE BUSY]
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
(cd "$root" && cargo build --release --quiet -p ottla-broker --example serve -p ottla-client --example bench)
exec python3 "$root/tests/bench/connections.py" "${OTTLA:-$target/release/examples/serve}" "$target/release/examples/bench" "$@"

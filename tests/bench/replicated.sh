#!/usr/bin/env bash
# Three nodes of Ottla and three of Apache Kafka side by side on this machine: see replicated.py for its options.
#   tests/bench/replicated.sh [--only WORD] [--runs N] …
# OTTLA names the server's binary; without it the broker alone is built. Needs Java for Kafka (scripts/kafka.sh).
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
cache=${OTTLA_CACHE:-$HOME/.cache/ottla}
(cd "$root" && cargo build --release --quiet -p ottla-broker --example serve -p ottla-client --example bench)
kafka=$("$root/scripts/kafka.sh")
exec "$cache/py/bin/python" "$root/tests/bench/replicated.py" --ottla "${OTTLA:-$target/release/examples/serve}" \
    --bench "$target/release/examples/bench" --kafka "$kafka" "$@"

#!/usr/bin/env bash
# Ottla and Apache Kafka side by side on this machine, medians of three runs: see compare.py for its options.
#   tests/bench/compare.sh [--only WORD,…] [--runs N] …
# OTTLA names the server's binary; without it the broker alone is built. Needs Java for Kafka (scripts/kafka.sh).
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
(cd "$root" && cargo build --release --quiet -p ottla-broker --example serve -p ottla-client --example bench --example floor)
"$root/scripts/kafka.sh" >/dev/null
exec python3 "$root/tests/bench/compare.py" --ottla "${OTTLA:-$target/release/examples/serve}" \
    --bench "$target/release/examples/bench" "$@"

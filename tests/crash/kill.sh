#!/usr/bin/env bash
# A server under load is killed at random moments and started again on the same data, CYCLES times; nothing that it
# acknowledged may be missing, moved, doubled or out of order. Usage: kill.sh [CYCLES [SERVER_COMMAND [ARGUMENTS…]]], where {dir} and
# {listen} in the command are replaced; by default the light server of broker/examples. OTTLA_SEED repeats a run's moments.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$root"
cargo build --release --quiet -p ottla-broker --example serve --example crash
exec "${CARGO_TARGET_DIR:-$root/target}/release/examples/crash" --cycles "${1:-200}" ${2:+--server "$2"} "${@:3}"

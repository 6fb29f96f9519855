#!/usr/bin/env bash
# Many partitions on one node: makes PARTITIONS (20000) of them in TOPICS (100), stops cleanly, starts again, and prints
# how long it is to the first Metadata answer and until the last partition took a record, with memory and open files
# while all are idle and once every one of them was written.
# Usage: partitions.sh [BINARY] with an `ottla` binary or the broker's example `serve` (default: `$OTTLA`, else serve).
# Fails past 3 s, and past 100 MB per 10,000 idle partitions.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
binary=${1:-${OTTLA:-${CARGO_TARGET_DIR:-$here/../../target}/release/examples/serve}}
exec python3 "$here/partitions.py" "$binary" "${PARTITIONS:-20000}" "${TOPICS:-100}"

#!/usr/bin/env bash
# How long from exec to the first Metadata answer, and how much memory an idle server holds: medians of RUNS starts, on a
# new data directory and on one that exists. Usage: startup.sh [OTTLA_BINARY]. Fails past 200 ms or 40 MB.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
ottla=${1:-${CARGO_TARGET_DIR:-$here/../../target}/release/ottla}
exec python3 "$here/startup.py" "$ottla" "${RUNS:-9}"

#!/usr/bin/env bash
# What a record of 100 bytes costs from a file into a topic, from a topic into a file, and through a WebAssembly stage: CPU time of whole
# `ottla run`s, and what each part adds. Usage: pipelines.sh [OTTLA_BINARY]; RECORDS (2,000,000) and RUNS (3, the least counts) are variables.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
ottla=${1:-${CARGO_TARGET_DIR:-$here/../../target}/release/ottla}
exec python3 "$here/pipelines.py" "$ottla" "${RECORDS:-2000000}" "${RUNS:-3}"

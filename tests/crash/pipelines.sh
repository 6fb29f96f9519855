#!/usr/bin/env bash
# The four example pipelines, applied to a server that is killed at random moments, against a batch computation.
# Usage: pipelines.sh KILLS [OTTLA_BINARY [SEED [NAME...]]]   (so many kills of each; default: the release binary)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${OTTLA_CACHE:-$HOME/.cache/ottla}
ottla=${2:-}
[ -n "$ottla" ] || ottla=${CARGO_TARGET_DIR:-$here/../../target}/release/ottla
"$cache/py/bin/python" "$here/pipelines.py" "$1" "${3:-$RANDOM}" "$ottla" "${@:4}"

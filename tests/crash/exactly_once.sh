#!/usr/bin/env bash
# A transactional copy loop with copier and broker killed in turn: the output must be the input, every record once.
# Usage: exactly_once.sh CYCLES [COMMAND [SEED]], where COMMAND starts the broker with {dir} and {listen} filled in
# (default: the release build of the broker's example `serve`). Needs scripts/setup.sh to have run (librdkafka for Python).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${OTTLA_CACHE:-$HOME/.cache/ottla}
command=${2:-}
if [ -z "$command" ]; then
    target=${CARGO_TARGET_DIR:-$here/../../target}
    cargo build --manifest-path "$here/../../Cargo.toml" --release --quiet -p ottla-broker --example serve
    command="$target/release/examples/serve {dir} {listen}"
fi
"$cache/py/bin/python" "$here/exactly_once.py" "$1" "${3:-$RANDOM}" "$command"

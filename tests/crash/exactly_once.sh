#!/usr/bin/env bash
# A transactional copy loop with copier and broker killed in turn: the output must be the input, every record once.
# Usage: exactly_once.sh CYCLES [COMMAND [SEED [java]]], where COMMAND starts the broker with {dir} and {listen} filled in
# (default: the release build of the broker's example `serve`). The copier uses librdkafka, for which scripts/setup.sh must
# have run, or with `java` Kafka's own client (scripts/kafka.sh).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${OTTLA_CACHE:-$HOME/.cache/ottla}
command=${2:-}
if [ -z "$command" ]; then
    target=${CARGO_TARGET_DIR:-$here/../../target}
    cargo build --manifest-path "$here/../../Cargo.toml" --release --quiet -p ottla-broker --example serve
    command="$target/release/examples/serve {dir} {listen}"
fi
copier=()
if [ "${4:-}" = java ]; then
    libs=$("$here/../../scripts/kafka.sh")
    classes=$(mktemp -d)
    trap 'rm -rf "$classes"' EXIT
    java -m jdk.compiler/com.sun.tools.javac.Main -cp "$(printf '%s:' "$libs"/*.jar)" -d "$classes" "$here/Copy.java"
    copier=("java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xshare:auto -cp $classes:$libs/* Copy")
fi
"$cache/py/bin/python" "$here/exactly_once.py" "$1" "${3:-$RANDOM}" "$command" ${copier[@]+"${copier[@]}"}

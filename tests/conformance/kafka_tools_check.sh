#!/usr/bin/env bash
# Apache Kafka's command-line tools against a fresh `ottla server`: they must say what they say of Apache Kafka
# (the .expected files, which kafka_expected.sh renews). Usage: kafka_tools_check.sh [OTTLA_BINARY]. Needs scripts/setup.sh to
# have run.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
ottla=${1:-${CARGO_TARGET_DIR:-$here/../../target}/release/ottla}
libs=$("$here/../../scripts/kafka.sh")
work=$(mktemp -d)
server=
cleanup() {
    [ -z "$server" ] || { kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; }
    rm -rf "$work"
}
trap cleanup EXIT

# A fresh server for each: what the tools of one leave behind would be in the answers of the other.
cat >"$work/security.toml" <<'TOML'
[broker]
"authorizer.class.name" = "org.apache.kafka.metadata.authorizer.StandardAuthorizer"
"super.users" = "User:ANONYMOUS"
TOML
touch "$work/plain.toml"
start() {
    local config=$work/plain.toml
    [ "$1" != security ] || config=$work/security.toml
    "$ottla" server --config "$config" --data-dir "$work/$1" --listen 127.0.0.1:0 --http-listen 127.0.0.1:0 >"$work/out" 2>"$work/log" &
    server=$!
    for _ in $(seq 200); do
        grep -q '^ready ' "$work/out" && break
        kill -0 "$server" 2>/dev/null || { cat "$work/log" >&2; exit 1; }
        sleep 0.05
    done
    address=$(sed -n 's/^ready kafka=\([^ ]*\).*/\1/p' "$work/out")
}
stop() {
    kill "$server"
    wait "$server" || true
    server=
}
for commands in tools groups transactions security; do
    start "$commands"
    "$here/kafka_$commands.sh" "$address" "$libs" >"$work/said"
    diff "$here/kafka_$commands.expected" "$work/said"
    stop
done
grep -ch '^## ' "$here"/kafka_*.expected | awk '{ all += $1 } END { print all " commands say what they say of Apache Kafka" }'

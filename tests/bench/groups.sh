#!/usr/bin/env bash
# What groups cost: the time until 100 members have 1,000 partitions, with either protocol, and the CPU time that the
# heartbeats of 5,000 members take. OTTLA names the server's binary; without it the broker alone is built. A BOOTSTRAP is
# measured instead of it, the CPU time if the process is named too. Usage: groups.sh [BOOTSTRAP [PROCESS]]
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
(cd "$root" && cargo build --release --quiet -p ottla-broker --example serve --example groups)
groups=$target/release/examples/groups
if [ $# -gt 0 ]; then
    for protocol in classic consumer; do "$groups" rebalance "$1" $protocol 100 1000; done
    [ $# -lt 2 ] || { ulimit -n 20000; "$groups" heartbeats "$1" 5000 30 "$2"; }
    exit
fi
ulimit -n 20000
work=$(mktemp -d)
server=
stop() {
    [ -z "$server" ] || { kill -INT "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; }
    server=
}
trap 'stop; rm -rf "$work"' EXIT
start() {
    rm -rf "$work/data"
    if [ -n "${OTTLA:-}" ]; then
        "$OTTLA" server --data-dir "$work/data" --listen 127.0.0.1:0 --http-listen 127.0.0.1:0 >"$work/out" 2>"$work/log" &
    else
        "$target/release/examples/serve" "$work/data" 127.0.0.1:0 >"$work/out" 2>"$work/log" &
    fi
    server=$!
    for _ in $(seq 200); do
        grep -q '^ready ' "$work/out" && break
        sleep 0.05
    done
    address=$(sed -n 's/^ready kafka=\([^ ]*\).*/\1/p' "$work/out")
}
for protocol in classic consumer; do
    start
    "$groups" rebalance "$address" $protocol 100 1000
    stop
done
start
"$groups" heartbeats "$address" 5000 30 "$server"
stop

#!/usr/bin/env bash
# A cluster of three nodes on this machine, each broker and controller, until Ctrl-C, which stops all of them.
#
#   scripts/three-nodes.sh [DIR] [PORT]      data and logs below DIR [./ottla-three], Kafka on PORT, PORT+1 and PORT+2 [19092],
#                                            controllers on PORT+10…, HTTP on PORT+20…
#   OTTLA=target/debug/ottla scripts/three-nodes.sh    another binary than target/release/ottla
set -euo pipefail
dir=${1:-ottla-three}
port=${2:-19092}
ottla=${OTTLA:-$(dirname "$0")/../target/release/ottla}
[ -x "$ottla" ] || {
    echo "no binary at $ottla: run cargo build --release, or name one with OTTLA=" >&2
    exit 2
}

controllers=""
for node in 1 2 3; do
    controllers+="${controllers:+,}$node@127.0.0.1:$((port + 9 + node))"
done
nodes=()
stop() {
    trap - INT TERM EXIT
    for node in "${nodes[@]}"; do
        kill "$node" 2>/dev/null || true
    done
    wait
}
trap 'stop; exit 0' INT TERM
trap stop EXIT
mkdir -p "$dir"
for node in 1 2 3; do
    "$ottla" server --node-id "$node" --controllers "$controllers" --data-dir "$dir/node-$node" \
        --listen "127.0.0.1:$((port - 1 + node))" --http-listen "127.0.0.1:$((port + 19 + node))" \
        >"$dir/node-$node.ready" 2>"$dir/node-$node.log" &
    nodes+=($!)
done
for node in 1 2 3; do
    until [ -s "$dir/node-$node.ready" ]; do
        kill -0 "${nodes[$((node - 1))]}" 2>/dev/null || {
            echo "node $node does not start:" >&2
            tail -n 3 "$dir/node-$node.log" >&2
            exit 1
        }
        sleep 0.05
    done
    echo "node $node $(cat "$dir/node-$node.ready")"
done
echo "all three are there: --bootstrap-server 127.0.0.1:$port, logs in $dir; Ctrl-C stops them"
wait

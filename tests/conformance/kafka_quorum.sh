#!/usr/bin/env bash
# Apache Kafka's kafka-metadata-quorum against three nodes of ours and a fourth that joins: it tells how the quorum is, gives the fourth
# its vote, and takes that of the first, with its directory. Usage: kafka_quorum.sh [BINARY], where BINARY is `ottla` or the broker's
# example `serve` (default: `$OTTLA`, else the release build's ottla).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
binary=${1:-${OTTLA:-${CARGO_TARGET_DIR:-$here/../../target}/release/ottla}}
libs=$("$here/../../scripts/kafka.sh")
work=$(mktemp -d)
servers=()
trap 'kill -KILL "${servers[@]}" 2>/dev/null || true; wait; rm -rf "$work"' EXIT

ports=($(python3 -c 'import socket
sockets = [socket.socket() for _ in range(8)]
for each in sockets: each.bind(("127.0.0.1", 0))
print(*(each.getsockname()[1] for each in sockets))'))
controllers=$(for id in 1 2 3; do echo "$id@127.0.0.1:${ports[id]}"; done | paste -sd,)
start() { # ID CONTROLLERS
    local listen=127.0.0.1:${ports[$1 + 3]}
    if [ "$(basename "$binary")" = serve ]; then
        "$binary" "$work/$1" "$listen" node.id="$1" controllers="$2" >"$work/out-$1" 2>"$work/log-$1" &
    else
        "$binary" server --node-id "$1" --controllers "$2" --data-dir "$work/$1" --listen "$listen" --http-listen 127.0.0.1:0 \
            >"$work/out-$1" 2>"$work/log-$1" &
    fi
    servers+=($!)
}
ready() { # ID
    for _ in $(seq 1200); do
        grep -q '^ready ' "$work/out-$1" && return
        sleep 0.1
    done
    cat "$work/log-$1" >&2
    exit 1
}
quorum() {
    timeout 120 java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xshare:auto -cp "$libs/*" org.apache.kafka.tools.MetadataQuorumCommand "$@"
}
until_so() { # WHAT COMMAND…
    for _ in $(seq 30); do
        if "${@:2}"; then return; fi
        sleep 1
    done
    echo "$1: not so" >&2
    exit 1
}
status() { quorum --bootstrap-server "127.0.0.1:${ports[6]}" describe --status >"$work/status" 2>&1; }
directory_of() { sed -n 's/^directory.id=//p' "$work/$1/meta.properties"; }

for id in 1 2 3; do start $id "$controllers"; done
for id in 1 2 3; do ready $id; done
leads() { status && grep -qE '^LeaderId: +[123]$' "$work/status"; }
until_so "a leader is described" leads
for id in 1 2 3; do
    grep -q "\"id\": $id, \"directoryId\": \"$(directory_of $id)\", \"endpoints\": \[\"CONTROLLER://127.0.0.1:${ports[id]}\"\]" "$work/status" ||
        { cat "$work/status"; exit 1; }
done
quorum --bootstrap-server "127.0.0.1:${ports[6]}" describe --replication >"$work/replication"
[ "$(grep -cE '\s(Leader|Follower)\s*$' "$work/replication")" = 3 ] || { cat "$work/replication"; exit 1; }

# The fourth gets its vote as Kafka's controllers do: the tool reads its config and its directory.
start 4 "$controllers,4@127.0.0.1:${ports[0]}"
ready 4
cat >"$work/controller.properties" <<P
process.roles=controller
node.id=4
controller.listener.names=CONTROLLER
listeners=CONTROLLER://127.0.0.1:${ports[0]}
controller.quorum.bootstrap.servers=127.0.0.1:${ports[1]}
log.dirs=$work/4
P
add() { quorum --bootstrap-server "127.0.0.1:${ports[6]}" --command-config "$work/controller.properties" add-controller >"$work/added" 2>&1; }
until_so "the fourth has caught up" add
grep -q 'Added controller 4' "$work/added" || { cat "$work/added"; exit 1; }
status
grep -q "\"id\": 4, \"directoryId\": \"$(directory_of 4)\"" "$work/status" || { cat "$work/status"; exit 1; }

# Where the first leads, what it answers may be lost with its office, and the next leader has no such voter.
remove() {
    quorum --bootstrap-server "127.0.0.1:${ports[6]}" remove-controller --controller-id 1 \
        --controller-directory-id "$(directory_of 1)" >"$work/removed" 2>&1 || grep -q VoterNotFoundException "$work/removed"
}
until_so "the first can be removed" remove
gone() { leads_now && ! sed -n '/^CurrentVoters/p' "$work/status" | grep -q '"id": 1,'; }
leads_now() { status && grep -qE '^LeaderId: +[234]$' "$work/status"; }
until_so "the first has no vote" gone
follows() { status && sed -n '/^CurrentObservers/p' "$work/status" | grep -q '"id": 1,'; }
until_so "the first follows without one" follows
echo "kafka-metadata-quorum describes, adds and removes controllers"

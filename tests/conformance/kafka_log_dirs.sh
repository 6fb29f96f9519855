#!/usr/bin/env bash
# Apache Kafka's kafka-log-dirs and kafka-reassign-partitions move partitions between the log dirs of a server of ours, under
# load. Usage: kafka_log_dirs.sh [BINARY], where BINARY is `ottla` or the broker's example `serve` (default: `$OTTLA`, else
# the release build's ottla).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
binary=${1:-${OTTLA:-${CARGO_TARGET_DIR:-$here/../../target}/release/ottla}}
libs=$("$here/../../scripts/kafka.sh")
work=$(mktemp -d)
server= producer=
stop() {
    [ -z "$producer" ] || kill "$producer" 2>/dev/null || true
    if [ -n "$server" ]; then
        kill -INT "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
        server=
    fi
}
trap 'stop; rm -rf "$work"' EXIT
fail() { echo "FAILED: $*"; cat "$work/log"; exit 1; }
kafka() { timeout 120 java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xshare:auto -cp "$libs/*" "$@"; }
tools=org.apache.kafka.tools
log_dirs() { kafka $tools.LogDirsCommand --bootstrap-server "$address" --describe "$@" 2>/dev/null | grep '^{'; }
reassign() { kafka $tools.reassign.ReassignPartitionsCommand --bootstrap-server "$address" "$@" 2>&1; }
# The dir of a partition, and whether it is on its way to another.
where() { log_dirs --topic-list moved | python3 -c '
import json, sys
for dir in json.load(sys.stdin)["brokers"][0]["logDirs"]:
    for partition in dir["partitions"]:
        if partition["partition"] == sys.argv[1]: print(dir["logDir"], partition["isFuture"])' "$1"; }

start() {
    : >"$work/log"
    if [ "$(basename "$binary")" = serve ]; then
        "$binary" "$work/a" "$1" "log.dirs=$work/a,$work/b" >"$work/log" 2>&1 &
    else
        printf '[broker]\nlog.dirs = ["%s", "%s"]\n' "$work/a" "$work/b" >"$work/ottla.toml"
        "$binary" server --config "$work/ottla.toml" --listen "$1" --http-listen 127.0.0.1:0 >"$work/log" 2>&1 &
    fi
    server=$!
    for _ in $(seq 100); do
        address=$(sed -nE 's/^ready kafka=([^ ]+).*/\1/p' "$work/log")
        [ -z "$address" ] || return 0
        kill -0 "$server" 2>/dev/null || fail "it does not start"
        sleep 0.1
    done
    fail "it does not serve"
}

start 127.0.0.1:0
kafka $tools.TopicCommand --bootstrap-server "$address" --create --topic moved --partitions 4 >/dev/null
log_dirs >"$work/all"
python3 - "$work/all" <<'END' || fail "partitions are not spread"
import json, sys
dirs = json.load(open(sys.argv[1]))["brokers"][0]["logDirs"]
assert [len(dir["partitions"]) for dir in dirs] == [2, 2] and all(dir["error"] is None for dir in dirs), dirs
END
kafka $tools.ProducerPerformance --topic moved --num-records 400000 --record-size 500 --throughput 40000 \
    --producer-props bootstrap.servers="$address" acks=all >"$work/produced" 2>&1 &
producer=$!
for round in b a b; do
    python3 -c '
import json, sys
dir = sys.argv[1]
print(json.dumps({"version": 1, "partitions": [
    {"topic": "moved", "partition": number, "replicas": [1], "log_dirs": [dir]} for number in range(4)]}))' \
        "$work/$round" >"$work/move.json"
    reassign --execute --reassignment-json-file "$work/move.json" >"$work/executed"
    grep -q 'Successfully started' "$work/executed" || { cat "$work/executed"; fail "no move to $round"; }
    for _ in $(seq 20); do
        reassign --verify --reassignment-json-file "$work/move.json" >"$work/verified"
        [ "$(grep -c 'replica .* completed successfully' "$work/verified")" = 4 ] && break
    done
    for number in 0 1 2 3; do
        [ "$(where "moved-$number")" = "$work/$round False" ] || { cat "$work/verified"; fail "moved-$number is in $(where "moved-$number")"; }
    done
done
wait "$producer" || { cat "$work/produced"; fail "the producer failed"; }
producer=
count() { kafka $tools.GetOffsetShell --bootstrap-server "$address" --topic moved | awk -F: '{sum += $3} END {print sum}'; }
[ "$(count)" = 400000 ] || fail "there are $(count) records"
stop
[ -e "$work/b/.kafka_cleanshutdown" ] && [ ! -e "$work/a/moved-0" ] || fail "the stop was not clean"
start "$address"
kafka $tools.ConsumerPerformance --bootstrap-server "$address" --topic moved --messages 400000 --hide-header >"$work/consumed"
awk -F, '{exit $5 + 0 == 400000 ? 0 : 1}' "$work/consumed" || fail "$(cat "$work/consumed")"
echo "moved: 4 partitions three times under load, 400000 records"

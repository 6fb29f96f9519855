#!/usr/bin/env bash
# Adopts the two log dirs of an Apache Kafka: a real broker makes topics, records and a group, stops, and a server of ours
# goes on with its folders. Topic ids, cluster id, configs, records with their offsets and committed offsets must be the
# same, and more can be produced; Kafka's own tools look at both. Usage: kafka_adopt.sh [BINARY], where BINARY is `ottla`
# or the broker's example `serve` (default: `$OTTLA`, else the release build's ottla).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
binary=${1:-${OTTLA:-${CARGO_TARGET_DIR:-$here/../../target}/release/ottla}}
libs=$("$here/../../scripts/kafka.sh")
work=$(mktemp -d)
server= signal=TERM
stop() {
    if [ -n "$server" ]; then
        # Kafka takes no SIGINT in the background, and `serve` no SIGTERM.
        kill "-$signal" "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
        server=
    fi
}
trap 'stop; rm -rf "$work"' EXIT

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
kafka() { timeout 120 java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xshare:auto -cp "$libs/*" "$@"; }
tools=org.apache.kafka.tools
topics() { kafka $tools.TopicCommand --bootstrap-server "$address" "$@"; }
produce() {
    kafka $tools.ConsoleProducer --bootstrap-server "$address" --property parse.key=true --property key.separator=: "$@"
}
consume() { # TOPIC PARTITION [ARGUMENTS…]
    kafka $tools.consumer.ConsoleConsumer --bootstrap-server "$address" --topic "$1" --partition "$2" --offset earliest \
        --timeout-ms 3000 --property print.offset=true --property print.key=true --property print.timestamp=true \
        "${@:3}" 2>/dev/null
}
wait_until_served() {
    for _ in $(seq 240); do
        if (exec 3<>"/dev/tcp/${address%:*}/${address#*:}") 2>/dev/null; then return; fi
        kill -0 "$server" 2>/dev/null || { cat "$work/log" "$work"/kafka/log 2>/dev/null; exit 1; }
        sleep 0.5
    done
    exit 1
}
# What a client can see of the cluster.
look() {
    # The order of configs is nobody's promise, and defaults are each server's own.
    topics --describe | sed -E 's/\t(Leader|Replicas|Isr|Elr|LastKnownElr): ?[^\t]*//g; s/\tConfigs:.*//' | sort
    for topic in plain squeezed small; do
        kafka kafka.admin.ConfigCommand --bootstrap-server "$address" --describe --entity-type topics --entity-name $topic |
            sed 's/, DEFAULT_CONFIG:[^},]*//' | sort
    done
    kafka $tools.ClusterTool cluster-id --bootstrap-server "$address"
    kafka $tools.consumer.group.ConsumerGroupCommand --bootstrap-server "$address" --describe --group readers 2>/dev/null |
        awk '{print $1, $2, $3, $4, $5, $6}' | sort
    kafka $tools.GetOffsetShell --bootstrap-server "$address" --exclude-internal-topics | sort
    for partition in 0 1 2; do consume plain $partition; done
    consume squeezed 0
    consume small 0
    consume transactional 0 --isolation-level read_committed
}

port=$(free_port)
address=127.0.0.1:$port
data=$work/kafka/data more=$work/kafka/more
# Snapshots, so that the log alone would not do.
export KAFKA_PROPERTIES="metadata.log.max.record.bytes.between.snapshots=4096
log.cleaner.backoff.ms=500
offsets.topic.num.partitions=50
log.dirs=$data,$more"
"$here/../../scripts/kafka-server.sh" "$work/kafka" "$port" &
server=$!
wait_until_served
topics --create --topic plain --partitions 3 --config retention.ms=-1 >/dev/null
topics --create --topic squeezed --config cleanup.policy=compact --config segment.ms=100 \
    --config min.cleanable.dirty.ratio=0.01 --config max.compaction.lag.ms=100 >/dev/null
topics --create --topic small --config segment.bytes=1048576 --config retention.ms=-1 >/dev/null
topics --create --topic transactional --config retention.ms=-1 >/dev/null
topics --create --topic gone >/dev/null
for codec in none gzip snappy lz4 zstd; do
    seq 200 | sed "s/.*/key-&:value & in $codec/" | produce --topic plain --compression-codec $codec
    seq 30 | sed "s/.*/key-$((RANDOM % 5)):value & in $codec/" | produce --topic squeezed --compression-codec $codec
done
seq 60000 | sed 's/.*/&:a value that takes some room, so that segments are rolled &/' | produce --topic small
kafka $tools.ProducerPerformance --topic transactional --num-records 500 --record-size 100 --throughput -1 \
    --transactional-id t --transaction-duration-ms 20 --producer-props bootstrap.servers="$address" >/dev/null
kafka $tools.consumer.ConsoleConsumer --bootstrap-server "$address" --topic plain --group readers --from-beginning \
    --max-messages 321 >/dev/null 2>&1
topics --delete --topic gone
topics --alter --topic plain --partitions 4
for _ in $(seq 60); do
    grep -hq '^squeezed' "$data/cleaner-offset-checkpoint" "$more/cleaner-offset-checkpoint" && break
    sleep 0.5
done
look >"$work/before"
stop
in_dirs() { (cd "$data" && echo ./*-*[0-9]/; cd "$more" && echo ./*-*[0-9]/); }
in_dirs >"$work/folders"
kafkas=$(ls "$data"/__cluster_metadata-0/*[1-9]-*.checkpoint | sort | tail -1)

start_ottla() {
    if [ "$(basename "$binary")" = serve ]; then
        "$binary" "$data" "$address" "log.dirs=$data,$more" metadata.log.max.record.bytes.between.snapshots=4096 >"$work/log" 2>&1 &
    else
        printf '[broker]\nlog.dirs = ["%s", "%s"]\nmetadata.log.max.record.bytes.between.snapshots = 4096\n' "$data" "$more" \
            >"$work/ottla.toml"
        "$binary" server --config "$work/ottla.toml" --listen "$address" --http-listen 127.0.0.1:0 >"$work/log" 2>&1 &
    fi
    server=$! signal=INT
    wait_until_served
}
start_ottla
look >"$work/after"
if ! diff "$work/before" "$work/after"; then
    cat "$work/log"
    echo "FAILED: what clients see has changed"
    exit 1
fi
echo 'new:one more' | produce --topic plain
echo 'new:one more' | produce --topic squeezed
ends=$(kafka $tools.GetOffsetShell --bootstrap-server "$address" --topic plain | awk -F: '{sum += $3} END {print sum}')
[ "$ends" = 1001 ] || { echo "FAILED: plain has $ends records"; exit 1; }
# Where the group never committed, in the partition that came last, it begins with the first record.
kafka $tools.consumer.ConsoleConsumer --bootstrap-server "$address" --topic plain --group readers --from-beginning --timeout-ms 5000 \
    >"$work/rest" 2>/dev/null || true
[ "$(wc -l <"$work/rest")" = 680 ] || { echo "FAILED: the group went on with $(wc -l <"$work/rest") records"; exit 1; }
# A snapshot of our own, and a start from it.
topics --create --topic wide --partitions 200
topics --delete --topic wide
for _ in $(seq 60); do
    [ "$(ls "$data"/__cluster_metadata-0/*.checkpoint | sort | tail -1)" != "$kafkas" ] && break
    sleep 0.5
done
topics --describe --topic plain >"$work/plain"
stop
start_ottla
topics --describe --topic plain | diff "$work/plain" - || { echo "FAILED: a snapshot tells something else"; exit 1; }
stop
in_dirs | diff "$work/folders" - || { echo "FAILED: partitions are in other dirs"; exit 1; }
for dir in "$data" "$more"; do
    "$here/kafka_dump_log.sh" "$dir" "$libs" squeezed
done
kafka kafka.tools.DumpLogSegments --cluster-metadata-decoder --files "$(find "$data/__cluster_metadata-0" -name '*.log' -o -name '*.checkpoint' | paste -sd,)" \
    >"$work/dump" 2>&1
if grep -iE 'exception|could not|unable' "$work/dump"; then
    echo "FAILED: the metadata log cannot be decoded"
    exit 1
fi
echo "adopted: $(wc -l <"$work/before") lines of what clients see are the same"

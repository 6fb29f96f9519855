#!/usr/bin/env bash
# What Apache Kafka's own tools say about transactions and features, with ids, times and ports taken out, so that two brokers
# can be compared. Usage: kafka_transactions.sh BOOTSTRAP LIBS, where LIBS is the folder with Kafka's jars
# (scripts/kafka.sh); needs the Python environment of scripts/setup.sh. kafka_transactions.expected is what Apache Kafka 4.1
# prints.
set -uo pipefail
bootstrap=$1 libs=$2
python=${OTTLA_CACHE:-$HOME/.cache/ottla}/py/bin/python
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tools=org.apache.kafka.tools
java_run() { timeout 60 java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xshare:auto -cp "$libs/*" "$@"; }

normalise() {
    sed -E \
        -e "s#$bootstrap#BOOTSTRAP#g; s#$work#WORK#g; s#/?127\.0\.0\.1#HOST#g; s#localhost:[0-9]+#HOST#g" \
        -e 's/[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:.,]+Z?/TIME/g; s/\b1[0-9]{12}\b/TIME/g; s/CreateTime:[0-9]+/CreateTime:TIME/; s/(only supports versions) [0-9]+-[0-9]+/\1 RANGE/' \
        -e '/^\tat /d; /^\[.*(WARN|INFO)/d; /^SLF4J/d; s/[[:space:]]+/ /g; s/ $//; /^$/d' | sort
}
# run NAME CLASS ARGUMENTS…: what it prints, line by line in order, and how it ends.
run() {
    echo "## $1"
    java_run "$2" --bootstrap-server "$bootstrap" "${@:3}" 2>&1 | normalise
    echo "exit ${PIPESTATUS[0]}"
}
# Producer ids are counted over the whole cluster, and epochs with each transaction.
numbers() { sed -E '/^(##|exit) /!s/\b[0-9]{1,6}\b/N/g'; }
transactions() { run "$1" $tools.TransactionsCommand "${@:2}"; }
features() { run "$1" $tools.FeatureCommand "${@:2}"; }

java_run $tools.TopicCommand --bootstrap-server "$bootstrap" --create --topic paid --partitions 2 >/dev/null
transactions "list none" list
transactions "describe an id that nobody uses" describe --transactional-id nobody
transactions "describe the producers of a partition without any" describe-producers --topic paid --partition 0
transactions "find none that hangs" find-hanging --broker-id 1

# The producer of Kafka's own benchmark, in transactions of 50 ms, which writes to both partitions: one that clings to a partition may
# leave the other without a producer.
both=partitioner.class=org.apache.kafka.clients.producer.RoundRobinPartitioner
echo "## measure a transactional producer"
java_run $tools.ProducerPerformance --topic paid --num-records 500 --record-size 50 --throughput 500 --producer-props \
    bootstrap.servers="$bootstrap" acks=all $both --transactional-id perf --transaction-duration-ms 50 2>&1 |
    grep -o '500 records sent' | head -1
echo "## the same with the settings of a transaction among the properties"
java_run $tools.ProducerPerformance --topic paid --num-records 500 --record-size 50 --throughput -1 --producer-props \
    bootstrap.servers="$bootstrap" $both transactional.id=perf 2>&1 | grep -o '500 records sent' | head -1
transactions "list" list | numbers
transactions "describe" describe --transactional-id perf | numbers
transactions "describe the producers" describe-producers --topic paid --partition 0 | numbers
transactions "list by pattern" list --transactional-id-pattern 'pe.*' | numbers
transactions "list by another pattern" list --transactional-id-pattern 'x.*'
transactions "list by a damaged pattern" list --transactional-id-pattern '['
run "consume what was committed" $tools.consumer.ConsoleConsumer --topic paid --isolation-level read_committed --from-beginning \
    --max-messages 1000 --timeout-ms 20000 | grep -c '^[A-Z]\{50\}$'

# A producer that leaves a transaction open.
"$python" - "$bootstrap" <<'PYTHON' 2>/dev/null
import os, sys
from confluent_kafka import Producer
producer = Producer({"bootstrap.servers": sys.argv[1], "transactional.id": "open", "transaction.timeout.ms": 600000})
producer.init_transactions()
producer.begin_transaction()
producer.produce("paid", b"open", partition=1)
producer.flush()
os._exit(0)
PYTHON
# Kafka lists what began so long ago whether or not it is over; here only what goes on is listed.
transactions "list the one that is open" list --duration-filter 1 | grep -v ' CompleteCommit$' | numbers
transactions "list none that is open for so long" list --duration-filter 3600000
transactions "describe the one that is open" describe --transactional-id open | numbers
transactions "find none that hangs in the topic" find-hanging --topic paid --max-transaction-timeout 1
transactions "find none that hangs in the partition" find-hanging --topic paid --partition 1
transactions "describe the producers with the one that is open" describe-producers --topic paid --partition 1 --broker-id 1 | numbers
transactions "abort where none begins" abort --topic paid --partition 1 --start-offset 99999
transactions "abort with half of what it needs" abort --topic paid --partition 1 --producer-id 1
start=$(java_run $tools.TransactionsCommand --bootstrap-server "$bootstrap" describe-producers --topic paid --partition 1 2>/dev/null |
    awk '$6 ~ /^[0-9]+$/ && $6 != "None" { print $6 }' | tail -1)
transactions "abort" abort --topic paid --partition 1 --start-offset "${start:-none}"
transactions "describe the producers after that" describe-producers --topic paid --partition 1 | numbers
run "read behind what was aborted" $tools.consumer.ConsoleConsumer --topic paid --partition 1 --offset "${start:-none}" \
    --isolation-level read_committed --timeout-ms 3000
run "read what was aborted" $tools.consumer.ConsoleConsumer --topic paid --partition 1 --offset "${start:-none}" --max-messages 1

features "upgrade to where it is" upgrade --feature transaction.version=2
features "upgrade to what there is not" upgrade --feature transaction.version=9
features "upgrade what there is not" upgrade --feature nothing.version=1
features "upgrade metadata to what there is not" upgrade --metadata 99.0
features "what a release has" version-mapping --release-version 4.0
features "what a feature needs" feature-dependencies --feature transaction.version=2
features "as a trial" upgrade --feature group.version=1 --dry-run
# Which levels there are differs by release; that these features are there does not.
java_run $tools.FeatureCommand --bootstrap-server "$bootstrap" describe 2>/dev/null |
    grep -oE '(metadata|group|transaction)\.version' | sort

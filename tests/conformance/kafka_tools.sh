#!/usr/bin/env bash
# Runs Apache Kafka's own command-line tools against a broker and prints what each says, with ids, times and paths
# taken out, so that two brokers can be compared; so are the two configs whose defaults differ on purpose. Usage:
# kafka_tools.sh BOOTSTRAP LIBS, where LIBS is the folder with Kafka's jars (scripts/kafka.sh). kafka_tools.expected is
# what Apache Kafka 4.1 prints.
set -uo pipefail
bootstrap=$1 libs=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

normalise() {
    sed -E \
        -e "s#$bootstrap#BOOTSTRAP#g; s#${bootstrap%:*}#HOST#g; s#\b${bootstrap#*:}\b#PORT#g; s#$work#WORK#g" \
        -e 's/TopicId: [A-Za-z0-9_-]{22}/TopicId: ID/; s/Cluster ID: .*/Cluster ID: ID/; s/ClusterId: .*/ClusterId: ID/' \
        -e 's/"logDir":"[^"]*"/"logDir":"DIR"/; s/[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9:.,]+Z?/TIME/g' \
        -e '/^\tat /d; s/(, )?DEFAULT_CONFIG:log.retention[^},]*//; s/min.insync.replicas=1,//; /^  min.insync.replicas=1 /d' \
        -e 's/console-consumer-[0-9]+/console-consumer-ID/; /^  (flush.messages|preallocate)=/d' \
        -e 's/CreateTime:[0-9]+/CreateTime:TIME/; /^\[.*(WARN|INFO)/d; /^SLF4J/d; s/[[:space:]]+$//'
}
# run NAME CLASS ARGUMENTS…: what it prints and how it ends.
run() {
    local name=$1 class=$2
    shift 2
    echo "## $name"
    timeout 60 java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xshare:auto -cp "$libs/*" "$class" "$@" 2>&1 | normalise
    echo "exit ${PIPESTATUS[0]}"
}
tools=org.apache.kafka.tools
topics() { run "$1" $tools.TopicCommand --bootstrap-server "$bootstrap" "${@:2}"; }
configs() { run "$1" kafka.admin.ConfigCommand --bootstrap-server "$bootstrap" "${@:2}"; }
offsets() { run "$1" $tools.GetOffsetShell --bootstrap-server "$bootstrap" "${@:2}" | sort; }

topics "create" --create --topic tools --partitions 2 --config retention.ms=3600000
topics "create again" --create --topic tools
topics "create a bad name" --create --topic 'to:ols'
topics "create too many replicas" --create --topic wide --replication-factor 3
topics "create a bad config" --create --topic bad --config retention.ms=x
topics "create with no partitions" --create --topic none --partitions 0
topics "create unless it is there" --create --if-not-exists --topic tools
topics "create with a clash of names" --create --topic to.ols_x --partitions 1
topics "create the clash" --create --topic to_ols.x --partitions 1
for config in retention.ms=-2 cleanup.policy=shrink min.cleanable.dirty.ratio=2 min.cleanable.dirty.ratio=half \
    compression.type=lzma message.timestamp.type=Never segment.ms=0 preallocate=yes flush.messages=0 max.message.bytes=-1 \
    segment.bytes=2147483648 no.such=1; do
    topics "create with $config" --create --topic bad --config $config
done
topics "create with a lag below another" --create --topic bad --config min.compaction.lag.ms=10 --config max.compaction.lag.ms=5
topics "list" --list --exclude-internal
topics "list by pattern" --list --topic 'to.*'
topics "delete the other" --delete --topic to.ols_x
topics "describe" --describe --topic tools
topics "describe what is not there" --describe --topic nothing
topics "more partitions" --alter --topic tools --partitions 3
topics "fewer partitions" --alter --topic tools --partitions 1
topics "describe three partitions" --describe --topic tools
topics "describe under-replicated" --describe --under-replicated-partitions
topics "describe with overrides" --describe --topics-with-overrides

configs "set a config" --alter --entity-type topics --entity-name tools --add-config max.message.bytes=2000000,cleanup.policy=[compact,delete]
configs "describe the configs that are set" --describe --entity-type topics --entity-name tools
configs "describe all configs of a topic" --describe --all --entity-type topics --entity-name tools
run "the names of a broker's configs" kafka.admin.ConfigCommand --bootstrap-server "$bootstrap" --describe --all \
    --entity-type brokers --entity-name 1 | sed -E 's/^  ([a-z0-9.]+)=.*/\1/' | sort
configs "take a config away" --alter --entity-type topics --entity-name tools --delete-config cleanup.policy
configs "take away what is not set" --alter --entity-type topics --entity-name tools --delete-config segment.ms
configs "set an unknown config" --alter --entity-type topics --entity-name tools --add-config no.such=1
configs "set a bad value" --alter --entity-type topics --entity-name tools --add-config segment.bytes=1
configs "describe what is not there" --describe --entity-type topics --entity-name nothing
configs "set on all brokers" --alter --entity-type brokers --entity-default --add-config log.cleaner.min.cleanable.ratio=0.4
configs "describe all brokers" --describe --entity-type brokers --entity-default
configs "set on one broker" --alter --entity-type brokers --entity-name 1 --add-config log.retention.ms=7200000
configs "describe one broker" --describe --entity-type brokers --entity-name 1
configs "set what a broker keeps" --alter --entity-type brokers --entity-name 1 --add-config node.id=7
configs "set a bad value on all brokers" --alter --entity-type brokers --entity-default --add-config log.segment.bytes=1
configs "describe a broker that is not there" --describe --entity-type brokers --entity-name 7
configs "take broker configs away" --alter --entity-type brokers --entity-name 1 --delete-config log.retention.ms
configs "take default configs away" --alter --entity-type brokers --entity-default --delete-config log.cleaner.min.cleanable.ratio

printf 'k1:a\nk2:b\nk3:c\nk1:d\n' >"$work/records"
run "produce" $tools.ConsoleProducer --bootstrap-server "$bootstrap" --topic tools --property parse.key=true \
    --property key.separator=: <"$work/records"
run "consume" $tools.consumer.ConsoleConsumer --bootstrap-server "$bootstrap" --topic tools --from-beginning \
    --max-messages 4 --group readers --property print.key=true | sort
for codec in gzip snappy lz4 zstd; do
    run "produce $codec" $tools.ConsoleProducer --bootstrap-server "$bootstrap" --topic codecs --compression-codec $codec <<<"$codec"
done
run "consume every codec" $tools.consumer.ConsoleConsumer --bootstrap-server "$bootstrap" --topic codecs --from-beginning \
    --max-messages 4
run "consume a partition from an offset" $tools.consumer.ConsoleConsumer --bootstrap-server "$bootstrap" --topic codecs \
    --partition 0 --offset 2 --max-messages 2 --property print.offset=true --property print.partition=true
run "produce without acks" $tools.ConsoleProducer --bootstrap-server "$bootstrap" --topic codecs --producer-property acks=0 \
    --producer-property enable.idempotence=false <<<"unacknowledged"
run "consume what was not acknowledged" $tools.consumer.ConsoleConsumer --bootstrap-server "$bootstrap" --topic codecs \
    --partition 0 --offset 4 --max-messages 1 --isolation-level read_committed
offsets "latest offsets" --topic tools
offsets "offsets of all topics by pattern" --topic 'to.*' --exclude-internal-topics
offsets "offsets of one partition" --topic-partitions tools:1
offsets "offsets of no such topic" --topic nothing
offsets "earliest offsets" --topic tools --time earliest
offsets "offsets of the newest records" --topic tools --time max-timestamp
offsets "offsets of a time" --topic tools --time 1
offsets "tiered offsets" --topic tools --time latest-tiered
offsets "local offsets" --topic tools --time earliest-local
run "groups" $tools.consumer.group.ConsumerGroupCommand --bootstrap-server "$bootstrap" --list | sort
run "group offsets" $tools.consumer.group.ConsumerGroupCommand --bootstrap-server "$bootstrap" --describe --group readers --offsets |
    sed -E 's/ +/ /g' | sort
groups() { run "$1" $tools.consumer.group.ConsumerGroupCommand --bootstrap-server "$bootstrap" "${@:2}" | sed -E 's/ +/ /g' | sort; }
groups "group state" --describe --group readers --state
groups "group members" --describe --group readers --members
groups "reset offsets, as a trial" --reset-offsets --group readers --topic tools --to-earliest --dry-run
groups "reset offsets" --reset-offsets --group readers --topic tools:0 --shift-by -1 --execute
groups "group offsets after that" --describe --group readers --offsets
groups "describe a group that is not there" --describe --group nobody
groups "list groups with their states" --list --state
run "delete a group" $tools.consumer.group.ConsumerGroupCommand --bootstrap-server "$bootstrap" --delete --group readers

printf '{"partitions":[{"topic":"tools","partition":0,"offset":1}],"version":1}' >"$work/delete.json"
run "delete records" $tools.DeleteRecordsCommand --bootstrap-server "$bootstrap" --offset-json-file "$work/delete.json"
offsets "earliest offsets after that" --topic tools --time earliest
printf '{"partitions":[{"topic":"tools","partition":0,"offset":99}],"version":1}' >"$work/delete.json"
run "delete records that are not there" $tools.DeleteRecordsCommand --bootstrap-server "$bootstrap" --offset-json-file "$work/delete.json"
run "log dirs" $tools.LogDirsCommand --bootstrap-server "$bootstrap" --describe --topic-list tools |
    sed -E 's/"size":[0-9]+/"size":SIZE/g'
run "elect the preferred leaders" $tools.LeaderElectionCommand --bootstrap-server "$bootstrap" --election-type preferred --all-topic-partitions
run "elect one leader" $tools.LeaderElectionCommand --bootstrap-server "$bootstrap" --election-type preferred --topic tools --partition 0
printf '{"version":1,"partitions":[{"topic":"tools","partition":0,"replicas":[1]}]}' >"$work/move.json"
run "reassign to the same" $tools.reassign.ReassignPartitionsCommand --bootstrap-server "$bootstrap" --execute --reassignment-json-file "$work/move.json"
run "reassignments" $tools.reassign.ReassignPartitionsCommand --bootstrap-server "$bootstrap" --list
run "producers" $tools.TransactionsCommand --bootstrap-server "$bootstrap" describe-producers --topic tools --partition 0 |
    sed -E 's/[0-9]{13}/TIME/; s/^[0-9]+/ID/; s/[[:space:]]+/ /g'
run "the cluster's id" $tools.ClusterTool cluster-id --bootstrap-server "$bootstrap"
run "the cluster's brokers" $tools.ClusterTool list-endpoints --bootstrap-server "$bootstrap" | sed -E 's/[[:space:]]+/ /g'
run "the quorum's replicas" $tools.MetadataQuorumCommand --bootstrap-server "$bootstrap" describe --replication |
    sed -E 's/[A-Za-z0-9_-]{22}/ID/; s/[[:space:]]+/ /g; s/^1 ID [0-9]+ 0 [0-9]+ [0-9]+/1 ID END 0 TIME TIME/'
run "client metrics" $tools.ClientMetricsCommand --bootstrap-server "$bootstrap" --alter --name all --metrics org.apache.kafka. --interval 60000
run "describe client metrics" $tools.ClientMetricsCommand --bootstrap-server "$bootstrap" --describe --name all
run "list client metrics" $tools.ClientMetricsCommand --bootstrap-server "$bootstrap" --list
run "delete client metrics" $tools.ClientMetricsCommand --bootstrap-server "$bootstrap" --delete --name all
run "measure a producer" $tools.ProducerPerformance --topic tools --num-records 1000 --record-size 100 --throughput -1 --producer-props bootstrap.servers="$bootstrap" |
    sed -E 's/[0-9]+\.[0-9]+/N/g; s/[0-9]+ ms/N ms/g; s/, N ms.*//'
run "measure a consumer" $tools.ConsumerPerformance --bootstrap-server "$bootstrap" --topic tools --messages 900 --hide-header |
    sed -E 's/[0-9.]+,/N,/g; s/, [0-9.]+/, N/g'
topics "delete" --delete --topic tools
topics "delete if it is there" --delete --if-exists --topic tools
topics "delete by pattern" --delete --topic 'co.*s'
topics "delete what is not there" --delete --topic tools
topics "list at the end" --list --exclude-internal

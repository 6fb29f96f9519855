#!/usr/bin/env bash
# Runs one node of Apache Kafka (KRaft, broker and controller in one, default heap) with its data in a folder, until it
# is killed. Usage: scripts/kafka-server.sh FOLDER PORT [VERSION]. The controller takes the next port. Lines of
# KAFKA_PROPERTIES are added to its configuration.
set -euo pipefail
folder=$1 port=$2
libs=$("$(dirname "$0")/kafka.sh" "${3:-4.1.0}")
mkdir -p "$folder"
cat >"$folder/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$((port + 1))
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$((port + 1))
advertised.listeners=PLAINTEXT://127.0.0.1:$port
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs=$folder/data
num.partitions=1
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
${KAFKA_PROPERTIES:-}
PROPERTIES
[ -e "$folder/data/meta.properties" ] || java -cp "$libs/*" kafka.tools.StorageTool format -t MkU3OEVBNTcwNTJENDM2Qg -c "$folder/server.properties" >/dev/null
# The heap of Kafka's own start script.
exec java -Xmx1G -Xms1G -server -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:InitiatingHeapOccupancyPercent=35 \
    -XX:+ExplicitGCInvokesConcurrent -Djava.awt.headless=true -cp "$libs/*" kafka.Kafka "$folder/server.properties" \
    >"$folder/log" 2>&1

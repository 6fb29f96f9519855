#!/usr/bin/env bash
# Has one of the scripts beside this one run against Apache Kafka 4.1, and prints what comes: for its .expected file.
# Usage: kafka_expected.sh tools|groups|transactions|security
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
port=$(python3 -c 'import socket; print(socket.create_server(("127.0.0.1", 0)).getsockname()[1])')
if [ "$1" = security ]; then
    export KAFKA_PROPERTIES="authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS"
fi
"$here/../../scripts/kafka-server.sh" "$work" "$port" &
kafka=$!
trap 'kill "$kafka" 2>/dev/null; wait "$kafka" 2>/dev/null; rm -rf "$work"' EXIT
libs=$("$here/../../scripts/kafka.sh")
for _ in $(seq 60); do
    java -cp "$libs/*" org.apache.kafka.tools.ClusterTool cluster-id --bootstrap-server "127.0.0.1:$port" >/dev/null 2>&1 && break
    sleep 1
done
"$here/kafka_$1.sh" "127.0.0.1:$port" "$libs"

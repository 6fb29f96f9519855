#!/bin/sh
# Runs tests/any_cluster.rs against an Apache Kafka from Maven Central: one node in KRaft mode, on free ports, its data
# in a temporary folder. Needs Java 17, Maven and, the first time, the network (40 MB).
#   client/tests/kafka.sh [VERSION]
set -eu
version=${1:-4.1.0}
here=$(cd "$(dirname "$0")/../.." && pwd)
home=${XDG_CACHE_HOME:-$HOME/.cache}/ottla/kafka-$version
work=$(mktemp -d)
stop() {
    if [ -n "${kafka:-}" ]; then
        kill "$kafka" 2>/dev/null || true
        wait "$kafka" 2>/dev/null || true
    fi
    rm -rf "$work"
}
trap stop EXIT
trap 'exit 1' INT TERM

if [ ! -d "$home/libs" ]; then
    cat > "$work/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>ottla</groupId><artifactId>kafka</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$version</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-nop</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
POM
    mvn -q -B -f "$work/pom.xml" dependency:copy-dependencies -DoutputDirectory="$home/libs.new"
    mv "$home/libs.new" "$home/libs"
fi

ports=$(python3 -c 'import socket
s = [socket.create_server(("127.0.0.1", 0)) for _ in "ab"]
print(*[each.getsockname()[1] for each in s])')
broker=${ports% *} controller=${ports#* }
cat > "$work/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller
listeners=PLAINTEXT://127.0.0.1:$broker,CONTROLLER://127.0.0.1:$controller
advertised.listeners=PLAINTEXT://127.0.0.1:$broker
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs=$work/data
num.partitions=3
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
group.initial.rebalance.delay.ms=0
PROPERTIES
java -cp "$home/libs/*" kafka.tools.StorageTool format -t MkU3OEVBNTcwNTJENDM2Qg -c "$work/server.properties"
java -Xmx512m -cp "$home/libs/*" kafka.Kafka "$work/server.properties" > "$work/kafka.log" 2>&1 &
kafka=$!

# The client waits for the broker by itself.
cd "$here"
OTTLA_TEST_BOOTSTRAP=127.0.0.1:$broker cargo test -p ottla-client --test any_cluster -- --nocapture --test-threads 1

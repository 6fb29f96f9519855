#!/usr/bin/env bash
# Runs the client's tests against Apache Kafka from Maven Central: one node in KRaft mode with plain and secured listeners, its
# data in a temporary folder. Transactions are tried in both versions. Usage: client/tests/kafka.sh [VERSION]; needs openssl.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
version=${1:-4.1.0}
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
free_port() { python3 -c 'import socket; print(socket.create_server(("127.0.0.1", 0)).getsockname()[1])'; }
port=$(free_port) sasl_port=$(free_port) ssl_port=$(free_port)
source "$here/kafka_secured.sh"

KAFKA_PROPERTIES=$(secured_properties) JAVA_TOOL_OPTIONS="-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls=file://$work/jwks.json" \
    "$root/scripts/kafka-server.sh" "$work/kafka" "$port" "$version" &
kafka=$!
libs=$("$root/scripts/kafka.sh" "$version")
tool() { java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -cp "$libs/*" "$1" --bootstrap-server "127.0.0.1:$port" "${@:2}" >/dev/null; }
for _ in $(seq 60); do
    tool org.apache.kafka.tools.ClusterTool cluster-id 2>/dev/null && break
    kill -0 "$kafka" 2>/dev/null || { tail -20 "$work/kafka/log"; exit 1; }
    sleep 1
done
for mechanism in SCRAM-SHA-256 SCRAM-SHA-512; do
    tool kafka.admin.ConfigCommand --alter --entity-type users --entity-name alice --add-config "$mechanism=[password=scram-secret]"
done

cd "$root"
export OTTLA_TEST_BOOTSTRAP=127.0.0.1:$port
# With the broker beside it, so that dependencies are those of every other build of the two.
tests() { cargo test -p ottla-client -p ottla-broker "$@"; }
tests --test any_cluster -- --nocapture --test-threads 1
OTTLA_TEST_SECURED=$work/clients OTTLA_TEST_SECURED_SECONDS=5 tests --test secured -- --nocapture --test-threads 1
tests --test transactional_producer -- --nocapture --test-threads 2
tool org.apache.kafka.tools.FeatureCommand downgrade --feature transaction.version=1 ||
    { echo "transaction.version cannot be lowered" >&2; exit 1; }
tests --test transactional_producer -- --nocapture --test-threads 2

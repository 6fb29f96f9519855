#!/usr/bin/env bash
# Each client library makes a topic, produces, consumes with a group, commits, and finds its commit again, against
# a real `ottla server`. Usage: tests/conformance/run.sh [OTTLA_BINARY]. Needs scripts/setup.sh to have run.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${OTTLA_CACHE:-$HOME/.cache/ottla}
ottla=${1:-${CARGO_TARGET_DIR:-$here/../../target}/release/ottla}
work=$(mktemp -d)
server=
cleanup() {
    [ -z "$server" ] || { kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; }
    rm -rf "$work"
}
trap cleanup EXIT

"$ottla" server --data-dir "$work/data" --listen 127.0.0.1:0 --http-listen 127.0.0.1:0 --registry-listen 127.0.0.1:0 --pg-listen 127.0.0.1:0 \
    --connect-listen 127.0.0.1:0 \
    >"$work/out" 2>"$work/log" &
server=$!
for _ in $(seq 200); do
    grep -q '^ready ' "$work/out" && break
    kill -0 "$server" 2>/dev/null || { cat "$work/log" >&2; echo "ottla server ended before it was ready" >&2; exit 1; }
    sleep 0.05
done
address=$(sed -n 's/^ready kafka=\([^ ]*\).*/\1/p' "$work/out")
connect=$(sed -n 's/^ready .* connect=\([^ ]*\).*/\1/p' "$work/out")
registry=$(sed -n 's/^ready .* registry=\([^ ]*\).*/\1/p' "$work/out")
pg=$(sed -n 's/^ready .* pg=\([^ ]*\).*/\1/p' "$work/out")

passed=0 failed=0
check() {
    local name=$1
    shift
    # Foreign clients with their own timeouts on a busy machine: a second chance, told of.
    for _ in 1 2; do
        if timeout 600 "$@" >"$work/$name.out" 2>&1; then
            passed=$((passed + 1))
            echo "ok      $name"
            return
        fi
        echo "FAILED  $name"
        sed 's/^/        /' "$work/$name.out"
    done
    failed=$((failed + 1))
}
check kcat "$here/kcat.sh" "$address" "$ottla"
check confluent-kafka "$cache/py/bin/python" "$here/confluent_kafka_client.py" "$address"
check schema-registry "$cache/py/bin/python" "$here/schema_registry_client.py" "$address" "http://$registry"
check s3-sink "$cache/py/bin/python" "$here/s3_sink.py" "$address" "http://$registry" "http://$connect"
check kafka-python "$cache/py/bin/python" "$here/kafka_python_client.py" "$address"
check aiokafka "$cache/py/bin/python" "$here/aiokafka_client.py" "$address"
check psql "$here/psql.sh" "$pg" "$address" "$ottla"
check psycopg "$cache/py/bin/python" "$here/psycopg_client.py" "$pg" "$address" "$ottla"
check kafkajs env NODE_PATH="$cache/node/node_modules" node "$here/kafkajs_client.js" "$address"
for client in confluent aiokafka kafka_python; do
    check "transactions-$client" "$cache/py/bin/python" "$here/transactional_clients.py" "$client" "$address"
done
check transactions-kafkajs env NODE_PATH="$cache/node/node_modules" node "$here/transactional_client.js" "$address"
# Our own client and the streams layer over TCP, with the test binaries that `cargo test --workspace` has built.
own_tests() {
    check "$1" env OTTLA_TEST_BOOTSTRAP="$address" cargo test --manifest-path "$here/../../Cargo.toml" --workspace \
        --test "${@:2}" --nocapture --test-threads 1
    if grep -q '^skipped:' "$work/$1.out"; then
        echo "FAILED  $1 was skipped"
        failed=$((failed + 1))
    fi
}
own_tests ottla-client any_cluster --
own_tests ottla-client-transactions transactional_producer --
own_tests ottla-streams answers -- any_cluster
check group-churn "$cache/py/bin/python" "$here/group_churn.py" "$ottla" "$("$here/../../scripts/kafka.sh")"
check kafka-tools "$here/kafka_tools_check.sh" "$ottla"
check kafka-log-dirs "$here/kafka_log_dirs.sh" "$ottla"
check kafka-reassign "$here/../cluster/reassign.sh" "$ottla" 150 20
check nearest-replica "$here/../cluster/nearest.sh" "$ottla"
check security "$here/security.sh" "$ottla"
check kafka-adopt "$here/kafka_adopt.sh" "$ottla"
check kafka-quorum "$here/kafka_quorum.sh" "$ottla"
if grep -E ' (ERROR|panicked)' "$work/log"; then
    echo "FAILED  the server logged an error"
    failed=$((failed + 1))
fi
echo "conformance: $passed passed, $failed failed"
[ "$failed" = 0 ]

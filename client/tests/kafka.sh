#!/usr/bin/env bash
# Runs tests/any_cluster.rs against Apache Kafka from Maven Central: one node in KRaft mode, its data in a temporary
# folder. Usage: client/tests/kafka.sh [VERSION]
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
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
port=$(python3 -c 'import socket; print(socket.create_server(("127.0.0.1", 0)).getsockname()[1])')
"$root/scripts/kafka-server.sh" "$work" "$port" "${1:-4.1.0}" &
kafka=$!
# The client waits for the broker by itself.
cd "$root"
OTTLA_TEST_BOOTSTRAP=127.0.0.1:$port cargo test -p ottla-client --test any_cluster -- --nocapture --test-threads 1

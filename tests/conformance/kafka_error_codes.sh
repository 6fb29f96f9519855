#!/usr/bin/env bash
# Sends the wrong requests of the broker's test `error_codes` to a fresh Apache Kafka and keeps what it answers as what is
# expected (broker/tests/error_codes/kafka.expected). To be run when a request is added there.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
server=
trap '[ -z "$server" ] || { kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; }; rm -rf "$work"' EXIT
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
# As SETTINGS in the test.
export KAFKA_PROPERTIES="group.max.size=3
transaction.state.log.num.partitions=1
transaction.abort.timed.out.transaction.cleanup.interval.ms=500"
"$here/../../scripts/kafka-server.sh" "$work" "$port" &
server=$!
for _ in $(seq 240); do
    if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then break; fi
    kill -0 "$server" 2>/dev/null || { cat "$work/log" >&2; exit 1; }
    sleep 0.5
done
OTTLA_PROBE=127.0.0.1:$port cargo test --manifest-path "$here/../../Cargo.toml" --quiet -p ottla-broker --test error_codes
git -C "$here" diff --stat -- "$here/../../broker/tests/error_codes/kafka.expected"

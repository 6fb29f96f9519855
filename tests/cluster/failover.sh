#!/usr/bin/env bash
# How long producers wait when the leader of their partition is killed or stopped, on three real servers; nothing that was acknowledged
# may be missing. The producers are librdkafka's, or with `java` those of Kafka's own client.
# Usage: failover.sh [ROUNDS [OTTLA_BINARY [java]]]   (default: 3, the release binary)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${OTTLA_CACHE:-$HOME/.cache/ottla}
ottla=${2:-${CARGO_TARGET_DIR:-$here/../../target}/release/ottla}
jars=()
if [ "${3:-}" = java ]; then
    jars=("$("$here/../../scripts/kafka.sh")")
fi
"$cache/py/bin/python" "$here/failover.py" "$ottla" "${1:-3}" ${jars[@]+"${jars[@]}"}

#!/usr/bin/env bash
# Three real servers with clients of all kinds, while nodes are killed, stopped, cut off, lose power and so on; then the history of all
# clients against what Kafka's protocol promises (checker.py). Needs root: network namespaces and loop devices.
#
#   check.sh [--seconds N] [--nemesis kill,stop,…] [--seed S] [--kafka] [--keep DIR] [--ottla BINARY]
#
# Default: 180 s, all nemeses (nemeses.py), the release binary. --kafka runs Apache Kafka (scripts/kafka.sh) with those that are fair.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${OTTLA_CACHE:-$HOME/.cache/ottla}
ottla=${CARGO_TARGET_DIR:-$here/../../target}/release/ottla
arguments=()
for argument in "$@"; do
    if [ "$argument" = --kafka ]; then
        arguments+=(--kafka "$("$here/../../scripts/kafka.sh")")
    else
        arguments+=("$argument")
    fi
done
if ! unshare --net --mount --pid --fork --mount-proc true 2>/dev/null; then
    echo "SKIPPED the history of clients: no namespaces can be made here (not root?)"
    exit 0
fi
# Namespaces of its own: whatever it starts, mounts and connects ends with it.
exec unshare --net --mount --pid --fork --kill-child --mount-proc \
    "$cache/py/bin/python" "$here/check.py" --ottla "$ottla" "${arguments[@]}"

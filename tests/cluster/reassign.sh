#!/usr/bin/env bash
# Apache Kafka's kafka-reassign-partitions moves replicas between three real servers under a throttle: the move takes the time that the
# rate says, producers of replicas in sync wait no longer meanwhile, and `--verify` takes the throttle away.
# Usage: reassign.sh [OTTLA_BINARY [MEGABYTES [MEGABYTES_A_SECOND]]]   (default: the release binary, 300, 20)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${OTTLA_CACHE:-$HOME/.cache/ottla}
ottla=${1:-${CARGO_TARGET_DIR:-$here/../../target}/release/ottla}
libs=$("$here/../../scripts/kafka.sh")
"$cache/py/bin/python" "$here/reassign.py" "$ottla" "$libs" "${2:-300}" "${3:-20}"

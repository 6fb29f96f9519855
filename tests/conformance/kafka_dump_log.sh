#!/usr/bin/env bash
# Apache Kafka's DumpLogSegments reads every segment of a data directory, record by record, and its indexes.
# Usage: kafka_dump_log.sh DATA_DIR LIBS [TOPIC], where TOPIC is compacted: its offsets may have gaps.
set -euo pipefail
files=$(find "$1" -name '*.log' -size +0 -o -name '*.timeindex' -size +0 -o -name '*.index' -size +0 | paste -sd,)
said=$(java -XX:TieredStopAtLevel=1 -cp "$2/*" kafka.tools.DumpLogSegments --deep-iteration --files "$files" 2>&1)
if grep -v "^Non-consecutive offsets in .*/${3:-none/}-[0-9]*/[0-9]*.log" <<<"$said" |
    grep -iE 'exception|mismatch|corrupt|invalid|non-consecutive|out of order|isvalid: false'; then
    exit 1
fi
batches=$(grep -c 'isvalid: true' <<<"$said")
echo "$batches batches are valid"
[ "$batches" -gt 0 ]

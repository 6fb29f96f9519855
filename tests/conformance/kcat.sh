#!/usr/bin/env bash
# kcat (librdkafka 2.0): metadata, produce with every codec, consume by offset, and a balanced group that commits.
# kcat makes topics by using them; its group's commit is read back with `ottla group describe`.
set -euo pipefail
address=$1
ottla=$2
want=$(mktemp)
trap 'rm -f "$want" "$want".got' EXIT
for codec in none gzip snappy lz4 zstd; do
    seq 1 500 | sed "s/.*/key-&:value-& $codec/" >"$want"
    kcat -b "$address" -P -t "kcat-$codec" -K: -X acks=all -z "$codec" <"$want"
    kcat -b "$address" -C -t "kcat-$codec" -e -q -f '%k:%s\n' >"$want".got
    diff "$want" "$want".got
done
kcat -b "$address" -L -t kcat-lz4 | grep -q 'topic "kcat-lz4" with 1 partitions'
# By offset from the middle, and the end by time.
[ "$(kcat -b "$address" -C -t kcat-lz4 -o 250 -c 1 -q -f '%o %k')" = "250 key-251" ]
# A group reads everything once and commits; a second run from the commit finds nothing new.
timeout 60 kcat -b "$address" -G kcat-group -c 500 -q -X auto.offset.reset=earliest -f '%k:%s\n' kcat-zstd >"$want".got
diff "$want" "$want".got
"$ottla" group describe kcat-group --bootstrap-server "$address" | grep -E 'kcat-zstd +0 +500 +500 +0'

#!/usr/bin/env bash
# The example pipelines with the release binary, as a user runs them; then the whole year of flights, timed, and killed
# at random moments, each against a batch query over the same CSV; and connectors by HTTP across kills. Usage: pipelines.sh [OTTLA_BINARY]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$here/../..
cache=${OTTLA_CACHE:-$HOME/.cache/ottla}
ottla=${1:-${CARGO_TARGET_DIR:-$root/target}/release/ottla}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0
verdict() { # name, exit code
    if [ "$2" = 0 ]; then passed=$((passed + 1)); echo "ok      $1"; else failed=$((failed + 1)); echo "FAILED  $1"; fi
}
compare() { python3 "$here/flights_oracle.py" "$1" "$2"; }

python=$cache/py/bin/python
oracle() { "$python" "$here/examples_oracle.py" "$@"; }

# What takes the alerts of `weblog`, and keeps all of them.
"$python" "$root/pipelines/weblog/receiver.py" 0 "$work/alerts.jsonl" >"$work/receiver.out" &
receiver=$!
trap 'kill "$receiver"; rm -rf "$work"' EXIT
until grep -q '^ready ' "$work/receiver.out"; do kill -0 "$receiver"; sleep 0.05; done
ALERTS_URL=http://127.0.0.1:$(cut -d' ' -f2 "$work/receiver.out")/alerts
export ALERTS_URL

for file in "$root"/pipelines/*/pipeline.yaml; do
    name=$(basename "$(dirname "$file")")
    code=0
    (cd "$work" && "$ottla" pipeline test "$file" && "$ottla" run "$file") >"$work/$name.out" 2>&1 || code=$?
    cat "$work/$name.out"
    verdict "pipeline $name" "$code"
done
data() { echo "$root/pipelines/$1/data/$2"; }
code=0; oracle weblog "$(data weblog access-log.jsonl)" "$work/alerts.jsonl" || code=$?
verdict "weblog equals a batch computation" "$code"
code=0; oracle orders "$(data orders shop.db)" "$work/enriched-orders" || code=$?
verdict "orders equals a batch query" "$code"
code=0; oracle sensors "$(data sensors frames.csv)" "$work/sensors.db" || code=$?
verdict "sensors equals a batch computation" "$code"
code=0; compare "$root/pipelines/flights/data/flights-2013-01.csv" "$work/flights.db" || code=$?
verdict "january equals a batch query" "$code"

# A test of what a server has, behind the example's own.
mkdir "$work/recorded"
cp "$root/pipelines/flights/pipeline.yaml" "$work/recorded/"
mkfifo "$work/ready"
"$ottla" server --data-dir "$work/recorded/data" --listen 127.0.0.1:0 --http-listen 127.0.0.1:0 >"$work/ready" 2>"$work/server.log" &
server=$!
trap 'kill "$receiver" "$server"; rm -rf "$work"' EXIT
read -r line <"$work/ready"
OTTLA_BOOTSTRAP_SERVER=$(sed -E 's/.*kafka=([^ ]*).*/\1/' <<<"$line") OTTLA_HTTP=http://$(sed -E 's/.*http=([^ ]*).*/\1/' <<<"$line")
export OTTLA_BOOTSTRAP_SERVER OTTLA_HTTP FLIGHTS_CSV=$root/pipelines/flights/data/flights-2013-01.csv
code=0
(cd "$work/recorded" && "$ottla" pipeline apply pipeline.yaml && until "$ottla" pipeline list | grep -q drained; do sleep 0.2; done &&
    "$ottla" pipeline test pipeline.yaml --record 50 && "$ottla" pipeline test pipeline.yaml) >"$work/recorded.out" 2>&1 || code=$?
cat "$work/recorded.out"
grep -q '^flights: 2 passed, 0 failed' "$work/recorded.out" || code=1
verdict "a test is made of what a server has" "$code"
kill "$server"; wait "$server" || true
trap 'kill "$receiver"; rm -rf "$work"' EXIT
unset OTTLA_BOOTSTRAP_SERVER OTTLA_HTTP FLIGHTS_CSV

year=${FLIGHTS_YEAR:-$cache/flights-2013.csv}
if [ ! -f "$year" ]; then
    echo "SKIPPED the year: no $year (scripts/setup.sh fetches it)"
else
    export FLIGHTS_CSV=$year OUT_DB=$work/year.db
    started=$(date +%s%N)
    code=0
    "$ottla" run "$root/pipelines/flights/pipeline.yaml" >"$work/year.out" 2>&1 || code=$?
    wall_ms=$((($(date +%s%N) - started) / 1000000))
    cat "$work/year.out"
    verdict "the whole year runs" "$code"
    code=0; compare "$year" "$OUT_DB" || code=$?
    verdict "the year equals a batch query" "$code"
    echo "whole year: $wall_ms ms wall"
    [ "$wall_ms" -lt 20000 ] && code=0 || code=1
    verdict "the year takes less than 20 s" "$code"

    export OUT_DB=$work/killed.db
    seed=${OTTLA_SEED:-7}
    RANDOM=$seed
    echo "kills with OTTLA_SEED=$seed"
    for _ in 1 2 3 4 5 6; do
        "$ottla" run "$root/pipelines/flights/pipeline.yaml" --data-dir "$work/data" >/dev/null 2>&1 &
        pid=$!
        sleep "$(printf '0.%03d' $((50 + RANDOM % 900)))"
        kill -9 "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    code=0
    "$ottla" run "$root/pipelines/flights/pipeline.yaml" --data-dir "$work/data" >"$work/killed.out" 2>&1 || code=$?
    [ "$code" = 0 ] || cat "$work/killed.out"
    verdict "the year goes on after kill -9" "$code"
    code=0; compare "$year" "$OUT_DB" || code=$?
    verdict "the killed year equals a batch query" "$code"
fi
code=0; python3 "$here/http_connectors.py" "$ottla" || code=$?
verdict "webhook to topic to HTTP endpoint across kill -9" "$code"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]

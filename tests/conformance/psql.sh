#!/usr/bin/env bash
# psql runs statements, reads what is there, and points at what is wrong.
# Usage: psql.sh PG_HOST:PORT KAFKA_HOST:PORT OTTLA_BINARY
set -euo pipefail
host=${1%:*} port=${1##*:} kafka=$2 ottla=$3
name=psql_$$
run() { PGCONNECT_TIMEOUT=30 psql -X -q -v ON_ERROR_STOP=1 -h "$host" -p "$port" -U anybody "$@"; }
expect() {
    local found
    found=$(run -At -c "$1")
    [ "$found" = "$2" ] || { printf '%s\ngave\n%s\nnot\n%s\n' "$1" "$found" "$2" >&2; exit 1; }
}
# What a query that runs on has not yet given comes later.
eventually() {
    for _ in $(seq 300); do
        [ "$(run -At -c "$1")" != "$2" ] || return 0
        sleep 0.1
    done
    expect "$1" "$2"
}
run <<SQL
CREATE STREAM ${name} (k STRING, v INT, f DOUBLE, d DECIMAL(10, 2), b BOOLEAN, at TIMESTAMP);
CREATE MATERIALIZED VIEW ${name}_sums AS SELECT k, SUM(v) AS total FROM ${name} GROUP BY k;
SQL
"$ottla" produce "$name" --bootstrap-server "$kafka" <<JSON
{"k":"a","v":1,"f":0.5,"d":"1.25","b":true,"at":"2013-01-01T00:00:00.5Z"}
{"k":"b","v":2,"f":null,"d":null,"b":false,"at":null}
{"k":"a","v":3,"f":-1e300,"d":"-0.01","b":null,"at":"1969-12-31T23:59:59Z"}
JSON
expect "SELECT * FROM ${name} ORDER BY v" "a|1|0.5|1.25|t|2013-01-01 00:00:00.500+00
b|2|||f|
a|3|-1e300|-0.01||1969-12-31 23:59:59+00"
eventually "SELECT k, total FROM ${name}_sums ORDER BY k" "a|4
b|2"
# Several statements at once, and what PostgreSQL's clients say by themselves.
expect "SELECT 1 AS one; SELECT COUNT(*) AS n FROM ${name}" "1
3"
run -c "BEGIN" -c "SET extra_float_digits = 3" -c "COMMIT"
run -At -c "SHOW VIEWS" | grep -qx "${name}_sums|${name}_sums|json|k"
run -At -c "DESCRIBE ${name}" | grep -q "^d|.*|yes|$"
run -At -c "EXPLAIN SELECT k, COUNT(*) FROM ${name} GROUP BY k" | grep -q "upsert key=\[k\]"
run -c "\\echo a row a line" -c "SELECT k FROM ${name} LIMIT 1" | grep -q "(1 row)"
# An error has a code, says what to do, and psql points at the place.
if run -v VERBOSITY=verbose -c "SELECT k,
nothing FROM ${name}" 2>/tmp/$name; then
    echo "a wrong statement was run" >&2
    exit 1
fi
grep -q "42601" /tmp/$name && grep -q "LINE 2: nothing FROM" /tmp/$name || { cat /tmp/$name >&2; exit 1; }
rm -f /tmp/$name
if run -c "SELECT k FROM ${name} EMIT CHANGES" 2>/dev/null; then
    echo "changes without an end were begun" >&2
    exit 1
fi
# The connection goes on after an error.
found=$(printf 'SELEC 1;\nSELECT 2 AS two;\n' | PGCONNECT_TIMEOUT=30 psql -X -q -At -h "$host" -p "$port" -U anybody 2>/dev/null)
[ "$found" = 2 ]
run -c "DROP MATERIALIZED VIEW ${name}_sums" -c "DROP STREAM ${name}"

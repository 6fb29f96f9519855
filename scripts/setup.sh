#!/usr/bin/env bash
# Installs what the conformance clients need on a fresh Debian machine: kcat, a Python environment and Node modules.
# The README's two commands need none of this. Everything but kcat goes under $OTTLA_CACHE (default ~/.cache/ottla).
set -euo pipefail
cache=${OTTLA_CACHE:-$HOME/.cache/ottla}
mkdir -p "$cache"

if ! command -v kcat >/dev/null; then
    apt-get update -qq
    apt-get install -y -qq kcat
fi

if [ ! -x "$cache/py/bin/python" ]; then
    python3 -m venv "$cache/py"
fi
"$cache/py/bin/python" -c 'import confluent_kafka, kafka, aiokafka' 2>/dev/null ||
    "$cache/py/bin/pip" install -q -r "$(dirname "$0")/../tests/conformance/requirements.txt"

if [ ! -d "$cache/node/node_modules/kafkajs" ]; then
    mkdir -p "$cache/node"
    cp "$(dirname "$0")/../tests/conformance/package.json" "$cache/node/"
    (cd "$cache/node" && npm install --silent --no-audit --no-fund)
fi

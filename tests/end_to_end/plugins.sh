#!/usr/bin/env bash
# Plugins as a user makes them, with the release binary: written, built, tried, and used in SQL. JavaScript where componentize-qjs
# is (scripts/setup.sh installs it), Rust where a compiler for WebAssembly is; elsewhere that is skipped, and said. With CI set, JavaScript
# must be there. Usage: plugins.sh [OTTLA_BINARY]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
cache=${OTTLA_CACHE:-$HOME/.cache/ottla}
ottla=$(realpath "${1:-${CARGO_TARGET_DIR:-$root/target}/release/ottla}")
work=$(mktemp -d)
server=
stop() {
    # It writes until it has ended.
    if [ -n "$server" ]; then
        kill "$server" 2>/dev/null || true
        wait "$server" || true
    fi
    rm -rf "$work"
}
trap stop EXIT
cd "$work"
passed=0 failed=0
same() { # name, expected, actual
    if [ "$2" = "$3" ]; then
        passed=$((passed + 1)); echo "ok      $1"
    else
        failed=$((failed + 1)); echo "FAILED  $1"; echo "expected: $2"; echo "actual:   $3"
    fi
}
fails() { # name, words of the error, command…
    local name=$1 words=$2 out code=0
    shift 2
    out=$("$@" 2>&1) || code=$?
    case "$code $out" in "0 "*) same "$name" "an error with: $words" "$out" ;; *"$words"*) same "$name" "" "" ;; *) same "$name" "$words" "$out" ;; esac
}
field() { python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }

sql() { curl -sS --data-binary "$1" "http://$http/sql"; }
start_server() {
    mkfifo ready
    "$ottla" server --data-dir data --listen 127.0.0.1:0 --http-listen 127.0.0.1:0 >ready 2>server.log &
    server=$!
    local line
    read -r line <ready
    kafka=$(sed -E 's/.*kafka=([^ ]*).*/\1/' <<<"$line") http=$(sed -E 's/.*http=([^ ]*).*/\1/' <<<"$line")
    sql 'CREATE STREAM people (name STRING, n INT)' >/dev/null
    printf '%s\n' '{"name":"Zoë","n":2}' '{"name":null,"n":1}' |
        "$ottla" produce people --bootstrap-server "$kafka"
}
# The function mask of a project in SQL, by that name.
in_sql() { # name, component
    sql "CREATE FUNCTION $1(text STRING, keep INT) RETURNS STRING LANGUAGE wasm AS '$work/$2', 'mask'" >/dev/null
    sql "SELECT n, $1(name, 1) AS name FROM people ORDER BY n"
}
masked='{"n":1,"name":null}
{"n":2,"name":"Z**"}'

start_server
if [ -x "$cache/node/node_modules/.bin/componentize-qjs" ]; then
    "$ottla" plugin new redact --language js --world transform >/dev/null
    cp "$root/plugins/examples/redact-js/plugin.js" redact/
    ln -s "$cache/node/node_modules" redact/node_modules
    built=$("$ottla" plugin build redact -o json)
    same "a transform in JavaScript is built" "ottla:plugin/transform@1.0.0" "$(field world <<<"$built")"
    same "its hash is told" "$(sha256sum <redact/redact.wasm | cut -d' ' -f1)" "$(field sha256 <<<"$built")"
    printf '%s\n' '{"eMail":"a@b.c","note":"ask zoë@x, or é.ö <ann.b@example.org>","deep":[{"token":7}],"n":1.5}' '"😀"' >in
    expected='{"eMail":"***","note":"ask zoë@x, or é.ö <***>","deep":[{"token":"***"}],"n":1.5}
"😀"'
    same "it redacts" "$expected" "$("$ottla" plugin test redact/redact.wasm --input in 2>test.err)"
    cat test.err
    echo 'not json' >in
    fails "a record that it cannot handle is refused in its own words" "it refused the batch" \
        "$ottla" plugin test redact/redact.wasm --input in

    "$ottla" plugin new jsfunctions --language js --world udf-scalar >/dev/null
    ln -s "$cache/node/node_modules" jsfunctions/node_modules
    "$ottla" plugin build jsfunctions
    rows='["héllo😀",2]
[null,1]'
    answers='"hé****"
null'
    same "a function in JavaScript answers" "$answers" \
        "$("$ottla" plugin test jsfunctions/jsfunctions.wasm --function mask <<<"$rows" 2>/dev/null)"
    fails "what a function throws is told" "the whole is 0" \
        "$ottla" plugin test jsfunctions/jsfunctions.wasm --function share --input <(echo '[1.0,0.0]')
    same "SQL calls it" "$masked" "$(in_sql js_mask jsfunctions/jsfunctions.wasm)"
elif [ -n "${CI:-}" ]; then
    same "componentize-qjs is installed" "$cache/node/node_modules/.bin/componentize-qjs" "nothing"
else
    echo "SKIPPED plugins in JavaScript: no componentize-qjs in $cache/node (scripts/setup.sh installs it)"
fi

"$ottla" plugin new rustfunctions --language rust --world udf-scalar >/dev/null
"$ottla" plugin new upper --language rust --world transform >/dev/null
# Relative, as a folder may be given.
mkdir -p "$cache/wasm-target"
ln -s "$cache/wasm-target" wasm-target
export CARGO_TARGET_DIR=wasm-target
if "$ottla" plugin build rustfunctions 2>rust.err; then
    "$ottla" plugin build upper -o json >/dev/null
    same "a transform in Rust answers" "$(printf 'K\tABC')" \
        "$(echo K#abc | "$ottla" plugin test upper/upper.wasm --key-separator '#' 2>/dev/null)"
    same "a function in Rust answers" '"a*"' \
        "$(echo '["ab",1]' | "$ottla" plugin test rustfunctions/rustfunctions.wasm --function mask 2>/dev/null)"
    same "SQL calls it" "$masked" "$(in_sql rust_mask rustfunctions/rustfunctions.wasm)"
elif grep -q "no Rust compiler here makes WebAssembly" rust.err; then
    echo "SKIPPED plugins in Rust: $(cat rust.err)"
else
    same "a function in Rust is built" "" "$(cat rust.err)"
fi
install=("$ottla" plugin install --http "http://$http")
list() {
    "$ottla" plugin list --http "http://$http" -o json |
        python3 -c 'import json, sys; [print(each["name"], each["world"], len(each["used_by"])) for each in json.load(sys.stdin)]'
}
"${install[@]}" "$root/plugins/examples/text-functions/text-functions.wasm" >/dev/null
"${install[@]}" "$root/plugins/examples/split-lines/split-lines.wasm" --name lines >/dev/null
sql "CREATE FUNCTION mask(text STRING, keep INT) RETURNS STRING LANGUAGE wasm AS 'text-functions'" >/dev/null
same "SQL calls a function of an installed plugin" "$masked" "$(sql 'SELECT n, mask(name, 1) AS name FROM people ORDER BY n')"
kill -9 "$server"; wait "$server" || true
rm ready
start_server
same "installed plugins are there after kill -9" "$(printf 'lines transform 0\ntext-functions udf-scalar 1')" "$(list)"
fails "a plugin that is used stays" "is used by function mask" "$ottla" plugin uninstall text-functions --http "http://$http"
fails "a file that is no component is refused" "this is no WebAssembly component" \
    "$ottla" plugin install "$root/README.md" --name readme --http "http://$http"

fails "a folder without a project is told" "has no Cargo.toml and no package.json" "$ottla" plugin build data
fails "a name that is taken is told" "is there already" "$ottla" plugin new upper

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]

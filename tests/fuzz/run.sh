#!/usr/bin/env bash
# Fuzzes one target after the other for SECONDS each, and prints how often each was executed. Needs neither a nightly
# compiler nor cargo-fuzz: libFuzzer's instrumentation is asked of the stable compiler. Usage: run.sh SECONDS [TARGET…].
# Inputs that found something new are kept in $OTTLA_FUZZ (default: corpus/ beside this script) for the next run; one that
# fails is left in the folder `artifacts` there, and its target is run on it with the same binary and the file's name.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here"
seconds=$1
shift
targets=${CARGO_TARGET_DIR:-$here/target}/fuzz
corpus=${OTTLA_FUZZ:-$here/corpus}
coverage="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
# A target of its own, so that build scripts and procedural macros are left alone.
host=$(rustc -vV | sed -n 's/^host: //p')
RUSTFLAGS="$coverage --cfg fuzzing -Ccodegen-units=1 -Cdebug-assertions -Coverflow-checks" \
    cargo build --release --quiet --target "$host" --target-dir "$targets"
[ $# -gt 0 ] || set -- $(cd fuzz_targets && ls -- *.rs | sed 's/\.rs$//')
failed=0
for target; do
    mkdir -p "$corpus/$target" "$corpus/artifacts"
    log=$(mktemp)
    # A parser that takes more than a second or 512 MiB for one input has failed too.
    if ! "$targets/$host/release/$target" -max_total_time="$seconds" -timeout=5 -rss_limit_mb=1024 -malloc_limit_mb=512 \
        -max_len=4096 -print_final_stats=1 -artifact_prefix="$corpus/artifacts/$target-" \
        "$corpus/$target" >"$log" 2>&1; then
        failed=1
        tail -n 40 "$log"
        echo "FAILED $target"
    fi
    echo "$target: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") executions in $seconds s"
    rm -f "$log"
done
exit $failed

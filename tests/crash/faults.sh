#!/usr/bin/env bash
# A server under load whose disk fails: syncs, writes, allocations, truncations and renames are made to fail at random
# moments, once, now and then, or for good. It may refuse records and it may end, as it must when a sync fails; what it
# acknowledged must be there for the next start, once and in order. Needs strace. Usage: faults.sh [CYCLES_PER_FAULT
# [SERVER_COMMAND]], as in kill.sh.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$root"
cargo build --release --quiet -p ottla-broker --example serve --example crash
built=${CARGO_TARGET_DIR:-$root/target}/release/examples
server=${2:-$built/serve {dir\} {listen\}}
if ! command -v strace >/dev/null || ! strace -o /dev/null true 2>/dev/null; then
    echo "SKIPPED failing disks: strace is not installed or may not trace"
    exit 0
fi
for fault in \
    fdatasync:error=EIO:when={n} \
    fsync:error=EIO:when={n} \
    pwritev:error=EIO:when={n} \
    pwritev:error=EIO:when={n}+7 \
    pwritev:error=ENOSPC:when={n}+ \
    fallocate:error=ENOSPC:when={n}+ \
    ftruncate:error=EIO:when={n}+3 \
    rename:error=EIO:when={n}+2 \
    fdatasync:delay_enter=300000:when={n}+20; do
    echo "== $fault"
    "$built/crash" --cycles "${1:-8}" --server "$server" \
        --faulty "strace -f -qq -e signal=none -e trace=${fault%%:*} -e inject=$fault -o /dev/null $server"
done

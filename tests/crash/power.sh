#!/usr/bin/env bash
# As kill.sh, but the data is on a file system of its own that loses its power under the server: what was not synced is
# gone afterwards, as on a machine whose plug was pulled. Needs root, ext4 and a loop device. Usage: power.sh [CYCLES
# [SERVER_COMMAND [ARGUMENTS…]]].
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$root"
work=$(mktemp -d)
disk=$work/disk
mkdir "$disk"
truncate -s 6G "$work/image"
trap 'umount "$disk" 2>/dev/null || umount -l "$disk" 2>/dev/null || true; rm -rf "$work"' EXIT
if ! { mkfs.ext4 -q -F "$work/image" && mount -o loop "$work/image" "$disk"; } 2>"$work/why"; then
    echo "SKIPPED power cuts: no file system can be mounted here ($(tail -n 1 "$work/why"))"
    exit 0
fi
# EXT4_IOC_SHUTDOWN without a flush of the journal: from here on nothing reaches the image.
cat >"$work/off.py" <<'PYTHON'
import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack("I", 2))
PYTHON
if ! python3 "$work/off.py" "$disk" 2>"$work/why"; then
    echo "SKIPPED power cuts: this kernel cannot shut a file system down ($(tail -n 1 "$work/why"))"
    exit 0
fi
umount "$disk"
mount -o loop "$work/image" "$disk"
cargo build --release --quiet -p ottla-broker --example serve --example crash
"${CARGO_TARGET_DIR:-$root/target}/release/examples/crash" --cycles "${1:-50}" --dir "$disk/data" \
    --power-off "python3 $work/off.py $disk" \
    --power-on "umount $disk && mount -o loop $work/image $disk" ${2:+--server "$2"} "${@:3}"

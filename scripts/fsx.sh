#!/usr/bin/env bash
# Runs fsx (the crate, 0.3.2) on a mount of a throw-away cluster: OPS operations
# (default 10,000) for each of SEEDS (default "1 2 3") and each mode:
#   buffered  reads and writes through the page cache
#   mapped    shared mappings too, and the cache dropped now and then
#   reopen    the file closed and opened again all the time
# What it leaves is compared with what another mount of the same tree shows. (Not
# with a GET from the filer: 4.48 moves bytes behind some holes, and stock mounts
# show the same as ours.)
# usage: scripts/fsx.sh, after a build
set -euo pipefail
cd "$(dirname "$0")/.."

ops=${OPS:-10000}
seeds=${SEEDS:-1 2 3}
fsx=.tools/cargo/bin/fsx
[[ -x $fsx ]] || cargo install --root .tools/cargo --version 0.3.2 fsx

riptide=${RIPTIDE_BIN:-${CARGO_TARGET_DIR:-target}/debug/riptide}

work=$(mktemp -d)
mount=$work/mount
other=$work/other
mkdir "$mount" "$other" "$work/cache"
started=()

finish() {
    for pid in "${started[@]}"; do
        kill -INT "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    rm -rf "$work"
}
trap finish EXIT

# Waits until something is mounted on $1.
mounted() {
    for _ in {1..300}; do
        mountpoint -q "$1" && return
        sleep 0.1
    done
    echo "nothing is mounted on $1:"
    cat "$work"/*.log
    exit 1
}

# Background jobs of a script ignore SIGINT; `env` gives it back to them.
env --default-signal=INT "$riptide" dev -files=1 -dir="$mount" >"$work/dev.log" 2>&1 &
started+=($!)
mounted "$mount"
filer=$(findmnt -no SOURCE "$mount")
env --default-signal=INT "$riptide" mount -filer="${filer%:/}" -dir="$other" \
    -cacheDir="$work/cache" >"$work/other.log" 2>&1 &
started=($! "${started[@]}")
mounted "$other"

weights() {
    printf 'fsync = 1\nfdatasync = 1\nposix_fallocate = 2\npunch_hole = 5\nsendfile = 3\ncopy_file_range = 3\n'
    case $1 in
    buffered) printf 'mapread = 0\nmapwrite = 0\n' ;;
    mapped) printf 'invalidate = 1\n' ;;
    reopen) printf 'mapread = 0\nmapwrite = 0\nclose_open = 10\n' ;;
    esac
}

failed=0
runs=0
for mode in buffered mapped reopen; do
    {
        printf 'flen = 1048576\n[weights]\n'
        weights "$mode"
    } >"$work/$mode.toml"
    for seed in $seeds; do
        name=fsx.$mode.$seed
        runs=$((runs + 1))
        if "$fsx" -q -f "$work/$mode.toml" -S "$seed" -N "$ops" -P "$work" "$mount/$name" >"$work/log" 2>&1 &&
            sleep 0.2 && cmp "$other/$name" "$mount/$name"; then
            echo "ok   $name: $ops operations"
        else
            echo "FAIL $name"
            tail -n 30 "$work/log"
            failed=$((failed + 1))
        fi
    done
done
echo "$runs runs, $failed failed"
[[ $failed == 0 ]]

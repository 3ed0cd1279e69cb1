#!/usr/bin/env bash
# Runs fsx (the crate, 0.3.2) on a mount of a throw-away cluster: OPS operations
# (default 100,000) with each of SEEDS seeds (default 10, from FIRST on) in each of MODES (default all):
#   buffered  reads and writes through the page cache
#   direct    past it (O_DIRECT)
#   mapped    shared mappings too
#   reopen    the file closed and opened again between two operations
#   dropped   the page cache dropped between two operations
# What it leaves is compared with what another mount of the same tree shows, and, if there
# are no holes in it, with a GET from the filer (4.48 moves bytes behind some holes).
# usage: scripts/fsx.sh, after a build
set -euo pipefail
cd "$(dirname "$0")/.."

ops=${OPS:-100000}
first=${FIRST:-1}
last=$((first + ${SEEDS:-10} - 1))
modes=${MODES:-buffered direct mapped reopen dropped}
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

# Of two operations, one is what the mode is named after.
weights() {
    printf 'fsync = 1\nfdatasync = 1\nposix_fallocate = 2\npunch_hole = 5\nsendfile = 3\ncopy_file_range = 3\n'
    case $1 in
    buffered | direct) printf 'mapread = 0\nmapwrite = 0\n' ;;
    mapped) printf 'mapread = 5\nmapwrite = 5\ninvalidate = 1\n' ;;
    reopen) printf 'mapread = 0\nmapwrite = 0\nclose_open = 18\n' ;;
    dropped) printf 'posix_fadvise = 10\ninvalidate = 10\n' ;;
    *)
        printf 'fsx: no mode is called %s\n' "$1" >&2
        return 2
        ;;
    esac
}

# Runs fsx on $1 with O_DIRECT, which it knows nothing of: set on what it has open, from outside.
direct() {
    python3 - "$@" <<'PYTHON'
import ctypes, fcntl, os, subprocess, sys, time

path, program = sys.argv[1], sys.argv[2:]
libc = ctypes.CDLL(None, use_errno=True)
PIDFD_GETFD = 438
fsx = subprocess.Popen(program)
pidfd = os.pidfd_open(fsx.pid)
is_set = False
while not is_set and fsx.poll() is None:
    for name in os.listdir(f"/proc/{fsx.pid}/fd"):
        try:
            is_it = os.readlink(f"/proc/{fsx.pid}/fd/{name}") == path
        except FileNotFoundError:
            continue
        fd = libc.syscall(PIDFD_GETFD, pidfd, int(name), 0) if is_it else -1
        if fd >= 0:
            fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_DIRECT)
            os.close(fd)
            is_set = True
    time.sleep(0.01)
sys.exit(fsx.wait() or (0 if is_set else "fsx ended before its file was open"))
PYTHON
}

# Runs fsx: mode, seed, file.
run() {
    local command=("$fsx" -q -f "$work/$1.toml" -S "$2" -N "$ops" -P "$work" "$3")
    [[ $1 != direct ]] || command=(direct "$3" "${command[@]}")
    "${command[@]}"
}

# Whether others have the same.
agree() {
    sleep 0.2
    cmp "$other/$1" "$mount/$1" || return
    local holes='import os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
size = os.fstat(fd).st_size
sys.exit(size == 0 or os.lseek(fd, 0, os.SEEK_HOLE) < size)'
    ! python3 -c "$holes" "$mount/$1" || curl -fsS "http://${filer%:/}/$1" | cmp - "$mount/$1"
}

failed=0
runs=0
for mode in $modes; do
    {
        printf 'flen = 1048576\n[weights]\n'
        weights "$mode"
    } >"$work/$mode.toml"
    for ((seed = first; seed <= last; seed++)); do
        name=fsx.$mode.$seed
        runs=$((runs + 1))
        if run "$mode" "$seed" "$mount/$name" >"$work/log" 2>&1 && agree "$name"; then
            echo "ok   $name: $ops operations, $SECONDS s"
        else
            echo "FAIL $name"
            tail -n 30 "$work/log"
            failed=$((failed + 1))
        fi
        rm -f "$mount/$name"
    done
done
echo "$runs runs, $failed failed"
[[ $failed == 0 ]]

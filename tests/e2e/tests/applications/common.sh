#!/usr/bin/env bash
# What the applications share. A script gets a directory of the mount as $1 and a local one as $2,
# and FULL=1 when it has time. It ends with 77 when a tool is missing.
set -euo pipefail
mount=$1 local=$2
full() { [[ ${FULL:-0} == 1 ]]; }
# few many: the first number, or the second when there is time.
amount() { if full; then echo "$2"; else echo "$1"; fi; }
needs() {
    for tool; do
        command -v "$tool" >/dev/null || {
            echo "no $tool"
            exit 77
        }
    done
}
die() {
    echo "$*" >&2
    exit 1
}
# A tree of $2 files in $1: sizes from 0 to 60,000 bytes, names with spaces, links, modes, times.
plant() {
    python3 - "$1" "$2" <<'P'
import os, random, sys
root, count = sys.argv[1], int(sys.argv[2])
r = random.Random(7)
for n in range(count):
    d = f"{root}/d{n % 37}/e {n % 5}"
    os.makedirs(d, exist_ok=True)
    path = f"{d}/f{n}"
    with open(path, "wb") as f:
        f.write(r.randbytes(r.choice([0, 1, 100, 4096, 4097, r.randrange(60000)])))
    os.chmod(path, r.choice([0o644, 0o600, 0o755]))
    os.utime(path, ns=(1_500_000_000_123_456_789, 1_500_000_000_000_000_000 + n * 1_000_003))
    if n % 100 == 0:
        os.symlink(f"f{n}", f"{path}.link")
        os.link(path, f"{path}.hard")
P
}

#!/usr/bin/env bash
# Beyond 2 and 4 GiB, with holes; with time, 2.5 GiB without holes.
. "${0%/*}/common.sh"
needs python3
python3 - "$mount/sparse" "$local/sparse" <<'P'
import os, random, sys
G = 1 << 30
places = [0, 2 * G - 5, 4 * G - 7, 5 * G + 12345]
for path in sys.argv[1:]:
    r = random.Random(3)
    with open(path, "wb") as f:
        for place in places:
            f.seek(place)
            f.write(r.randbytes(100_000))
        f.truncate(6 * G)
ours, theirs = (open(path, "rb") for path in sys.argv[1:])
assert os.fstat(ours.fileno()).st_size == 6 * G
assert os.fstat(ours.fileno()).st_blocks * 512 < G, "holes take space"
for place in places + [G, 3 * G, 6 * G - 100]:
    start = max(0, place - 50_000)
    ours.seek(start), theirs.seek(start)
    assert ours.read(200_000) == theirs.read(200_000), place
P
full || exit 0
head -c $((5 << 29)) /dev/urandom | tee >(sha256sum >"$local/sum") >"$mount/large"
got=$(sha256sum <"$mount/large")
[[ $got == "$(cat "$local/sum")" ]] || die "the large file reads back wrong"
rm "$mount/large"

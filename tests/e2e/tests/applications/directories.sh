#!/usr/bin/env bash
# Many names in one directory: made, listed, renamed, removed.
. "${0%/*}/common.sh"
needs python3
python3 - "$mount/many" "$(amount 2000 10000)" <<'P'
import os, sys
root, count = sys.argv[1], int(sys.argv[2])
os.mkdir(root)
for n in range(count):
    with open(f"{root}/a{n}", "x"):
        pass
assert sorted(os.listdir(root)) == sorted(f"a{n}" for n in range(count))
for n in range(0, count, 2):
    os.rename(f"{root}/a{n}", f"{root}/b{n}")
names = {f"b{n}" if n % 2 == 0 else f"a{n}" for n in range(count)}
assert set(os.listdir(root)) == names
seen = set()
with os.scandir(root) as entries:
    # Removing while listing: everything that is there throughout is shown once.
    for entry in entries:
        assert entry.name not in seen, entry.name
        seen.add(entry.name)
        if entry.name.startswith("b"):
            os.unlink(entry.path)
assert {name for name in names if name.startswith("a")} <= seen
assert not any(name.startswith("b") for name in os.listdir(root))
for name in os.listdir(root):
    os.unlink(f"{root}/{name}")
os.rmdir(root)
P

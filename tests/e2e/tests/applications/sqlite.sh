#!/usr/bin/env bash
# Rollback journal and WAL: the same statements on both sides, two processes at once, and one killed.
. "${0%/*}/common.sh"
needs python3
cat >"$local/work.py" <<'P'
import random, sqlite3, sys
path, mode, seed, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
db = sqlite3.connect(path, timeout=60, isolation_level=None)
assert db.execute(f"pragma journal_mode={mode}").fetchone()[0] == mode
db.execute("create table if not exists t(writer int, n int, body blob, primary key(writer, n))")
r = random.Random(seed)
for n in range(count):
    db.execute("begin immediate")
    db.execute("insert into t values(?, ?, ?)", (seed, n, r.randbytes(r.randrange(9000))))
    db.execute("update t set body = ? where writer = ? and n = ?", (r.randbytes(50), seed, r.randrange(n + 1)))
    if n % 7 == 6:
        db.execute("delete from t where writer = ? and n = ?", (seed, n - 3))
    db.execute("commit")
    print(n, flush=True)
P
cat >"$local/dump.py" <<'P'
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=60)
assert db.execute("pragma integrity_check").fetchall() == [("ok",)], "integrity"
for row in db.execute("select writer, n, hex(body) from t order by 1, 2"):
    print(row)
P
count=$(amount 60 400)
for mode in delete wal; do
    ours=$mount/$mode.db theirs=$local/$mode.db
    for db in "$ours" "$theirs"; do
        # Who changes the mode while another one does is told so at once, not after the timeout.
        python3 "$local/work.py" "$db" $mode 0 0
        python3 "$local/work.py" "$db" $mode 1 "$count" >/dev/null &
        first=$!
        python3 "$local/work.py" "$db" $mode 2 "$count" >/dev/null
        wait $first
    done
    python3 "$local/dump.py" "$ours" >"$local/ours"
    python3 "$local/dump.py" "$theirs" >"$local/theirs"
    cmp "$local/ours" "$local/theirs"
    # Killed amid its transactions: all that it said is there, and nothing is torn.
    python3 "$local/work.py" "$ours" $mode 3 100000 >"$local/said" &
    victim=$!
    until [[ -s $local/said ]] && (($(wc -l <"$local/said") > 20)); do
        kill -0 $victim || die "the writer ended"
    done
    kill -9 $victim
    wait $victim 2>/dev/null || true
    said=$(tail -n 1 "$local/said")
    python3 "$local/dump.py" "$ours" >"$local/after"
    # Rows that were said and not deleted: of 7, one goes, and the last may go by one not yet said.
    kept=$(grep -c '^(3,' "$local/after")
    ((kept >= said + 1 - (said + 2) / 7)) || die "$mode: $kept rows of $said"
done

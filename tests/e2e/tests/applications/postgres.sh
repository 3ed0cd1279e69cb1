#!/usr/bin/env bash
# PostgreSQL with its files on the mount: a load, a kill, recovery, and sums that must agree.
. "${0%/*}/common.sh"
needs initdb pg_ctl pgbench psql runuser
getent passwd postgres >/dev/null || exit 77
export PGHOST=$local PGDATABASE=postgres
data=$mount/pg
mkdir "$data"
chown postgres "$data" "$local"
as() { runuser -u postgres -- env PGHOST="$PGHOST" PGDATABASE=postgres "$@"; }
start() { as pg_ctl -D "$data" -w -t 60 -l "$local/pg.log" -o "-k $local -c listen_addresses=''" start >/dev/null || die "$(tail -n 30 "$local/pg.log")"; }
as initdb -D "$data" --no-locale -E UTF8 >/dev/null
start
trap 'as pg_ctl -D "$data" -m immediate stop >/dev/null || true' EXIT
as pgbench -q -i -s 2 2>/dev/null
as pgbench -n -c 4 -T "$(amount 3 20)" >/dev/null
# No checkpoint, no goodbye: what was committed comes back from the log.
as pgbench -n -c 4 -T 60 >"$local/bench" 2>&1 &
bench=$!
sleep 2
as pg_ctl -D "$data" -m immediate stop >/dev/null
wait $bench || true
start
sums=$(as psql -Atc "select (select sum(abalance) from pgbench_accounts) = (select sum(delta) from pgbench_history)
    and (select sum(tbalance) from pgbench_tellers) = (select sum(delta) from pgbench_history)
    and (select sum(bbalance) from pgbench_branches) = (select sum(delta) from pgbench_history)")
[[ $sums == t ]] || die "sums differ after recovery"
as psql -qAtc 'create extension amcheck' 2>/dev/null &&
    as psql -qAtc "select bt_index_check(oid) from pg_class where relkind = 'i' and relname like 'pgbench%'" >/dev/null
true

#!/usr/bin/env bash
# The load of an office's file server.
. "${0%/*}/common.sh"
needs dbench
dbench -D "$mount" -t "$(amount 5 30)" 4 >"$local/said" || die "$(tail "$local/said")"
grep -q ^Throughput "$local/said" || die "$(tail "$local/said")"

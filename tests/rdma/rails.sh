#!/usr/bin/env bash
# Runs in both of two virtual machines that have two devices each and a cable for each pair: a cluster
# and its sidecar on host 1, a mount on host 2. The mount has to read over both rails at once, to do
# with one while the cable of the other is pulled, and to take the other again when it is back.
#   rails.sh RIPTIDE WEED
set -euo pipefail
readonly RIPTIDE=$1 WEED=$2
# shellcheck source=tests/rdma/common.sh
. "${0%/*}/common.sh"

readonly RAILS='rxe0 rxe1'
readonly FILES=12 SIZE=3000000 READERS=4

say() { echo "rails: $*"; }
flag() { : >"$RDMA_VM_DIR/$1"; }

host_1() {
    local set i
    for set in both one; do
        mkdir -p "$DIR/files/$set"
        for ((i = 0; i < FILES; i++)); do head -c $((SIZE + i)) /dev/urandom >"$DIR/files/$set/$i"; done
    done
    cp -r $DIR/files "$RDMA_VM_DIR/"
    cluster
    for set in "$DIR"/files/*; do store "$set"; done
    start_sidecar
    flag up
    sleep 10000
}

host_2() {
    until_true "host 1 is up" test -e "$RDMA_VM_DIR/up"
    mkdir -p $DIR
    cp -r "$RDMA_VM_DIR/files" $DIR/
    mount_it
    both_are_used
    one_is_enough
    both_are_used_again
    unmount
    say passed
}

# What a device has received, in packets.
received() { cat "/sys/class/infiniband/$1/ports/1/hw_counters/rcvd_pkts"; }

# Reads a set of files with several readers at once and compares them. Sets $got to the bytes that came
# over RDMA, and for each rail $packets[rail] to what its device received.
declare -A packets
read_set() {
    local rail before i readers=()
    before=$(number fabric_bytes)
    for rail in $RAILS; do packets[$rail]=$(received "$rail"); done
    for ((i = 0; i < READERS; i++)); do
        part "$1" "$i" & readers+=($!)
    done
    for i in "${readers[@]}"; do wait "$i" || die "a read of $1 failed or had other bytes"; done
    for rail in $RAILS; do packets[$rail]=$(($(received "$rail") - packets[$rail])); done
    got=$(($(number fabric_bytes) - before))
    say "$1: $got bytes over RDMA; $(for rail in $RAILS; do echo "$rail received ${packets[$rail]} packets"; done | paste -sd,)"
}
# Every READERS-th file, from the one that is named.
part() {
    local i
    for ((i = $2; i < FILES; i += READERS)); do cmp "$DIR/mnt/$1/$i" "$DIR/files/$1/$i" || return; done
}

# A remount has nothing in memory, and new lanes.
remount() { unmount; mount_it; }

# The first lane over a device may take longer to open than a read waits, on emulated processors: then
# the reads go over HTTP, and are done again.
both_are_used() {
    local i
    for ((i = 0; i < 10; i++)); do
        read_set both
        # A packet holds 4 KiB. A quarter of the bytes over each is far more than what opens lanes.
        if is_carried rxe0 $((got / 4)) && is_carried rxe1 $((got / 4)) && [[ $got -gt $((FILES * SIZE / 2)) ]]; then
            return
        fi
        remount
    done
    die "ten mounts did not read over both rails at once"
}
is_carried() { [[ ${packets[$1]} -gt $(($2 / 4096)) ]]; }

# The cluster's own network is that of the first rail, so that fallbacks have a way.
one_is_enough() {
    "$RDMA_VM" ctl link 2 off 2
    remount
    local before
    before=$(received rxe1)
    until_true "one rail carries alone" alone
    cat $DIR/alone.log
    [[ $(received rxe1) -eq $before ]] || die "something came through a pulled cable"
}
alone() {
    read_set one >$DIR/alone.log
    [[ $got -gt $((FILES * SIZE / 2)) ]] && is_carried rxe0 "$got" && return
    remount
    return 1
}

# Without a remount, and without a pause that would have its lanes over the first rail grow old: the mount
# itself sees that the second works again.
both_are_used_again() {
    "$RDMA_VM" ctl link 2 on 2
    local before i writers=()
    before=$(received rxe1)
    for ((i = 0; i < READERS; i++)); do
        busy "$i" & writers+=($!)
    done
    until_true "the second rail is taken again" carried_since "$before"
    : >$DIR/enough
    say "the second rail is taken again: $(($(received rxe1) - before)) packets"
    for i in "${writers[@]}"; do wait "$i" || die "a writer failed"; done
    for ((i = 0; i < READERS; i++)); do
        cmp "$DIR/mnt/both/copy$i" "$DIR/files/both/$i" || die "other bytes were written"
    done
}
carried_since() { [[ $(received rxe1) -gt $(($1 + 200)) ]]; }
# Writes, since what was read once is in memory: the other end asks for each 256 KiB with a packet.
busy() {
    while [[ ! -e $DIR/enough ]]; do
        cp "$DIR/files/both/$1" "$DIR/mnt/both/copy$1" || die "a write failed"
    done
}

"host_$RDMA_VM_HOST"

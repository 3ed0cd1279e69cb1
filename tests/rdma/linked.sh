#!/usr/bin/env bash
# Runs in both of two virtual machines with verbs devices and a cable between them: a cluster and its
# sidecar on host 1, a mount on host 2. Files are read over the cable by RDMA, while in turn the sidecar
# is killed, comes back, the cable is pulled, is put back, and host 1 loses its power. Whatever
# happens no read has a wrong byte, and none takes longer than it may.
#   linked.sh RIPTIDE WEED
set -euo pipefail
readonly RIPTIDE=$1 WEED=$2
# shellcheck source=tests/rdma/common.sh
. "${0%/*}/common.sh"

# How long one small file, or a read of the large one, may take when everything is away. A question to the filer is given up after
# -readRetryTime (6 s), a chunk too; before that the fabric has -rdma.timeoutMs (5 s). Opening and
# reading are a question and a chunk, which makes 17 s; emulated processors and others' work add theirs.
readonly BOUND=60

say() { echo "linked: $*"; }
# Flags are files in the folder that both hosts see.
flag() { : >"$RDMA_VM_DIR/$1"; }
await() { until_true "host $((3 - RDMA_VM_HOST)) says $1" test -e "$RDMA_VM_DIR/$1"; }

host_1() {
    plant
    cluster
    local set
    for set in "$DIR"/files/*; do store "$set"; done
    start_sidecar
    flag up
    await kill-sidecar
    kill -9 "$sidecar"
    wait "$sidecar" || true
    flag sidecar-killed
    await start-sidecar
    start_sidecar
    flag sidecar-back
    sleep 10000 # Its power goes.
}

# Files of a set.
readonly FILES=24
# A folder of files for each part, because what was read once is in a cache.
plant() {
    local set i
    for set in warm all killed back cut restored dead; do
        mkdir -p "$DIR/files/$set"
        # Read in this order: faults come in the middle of b.
        for i in a1 a2 a3; do head -c $((RANDOM + 5000)) /dev/urandom >"$DIR/files/$set/$i"; done
        head -c 25165825 /dev/urandom >"$DIR/files/$set/b"
        for ((i = 10; i < 30; i++)); do head -c $((i * 9999)) /dev/urandom >"$DIR/files/$set/c$i"; done
    done
    cp -r $DIR/files "$RDMA_VM_DIR/"
}

host_2() {
    await up
    mkdir -p $DIR
    cp -r "$RDMA_VM_DIR/files" $DIR/
    mount_it
    # The first lane may take longer to open than a read waits, on emulated processors.
    until_rdma warm "a new mount"
    everything_comes_over_rdma
    the_sidecar_is_killed
    the_sidecar_is_back
    the_cable_is_pulled
    the_cable_is_back
    host_1_is_killed
    say passed
}

everything_comes_over_rdma() {
    local packets bytes size before
    size=$(size_of $DIR/files/all)
    packets=$(cat $counters/rcvd_pkts) before=$(number fabric_bytes)
    diff <(sums $DIR/files/all) <(sums $DIR/mnt/all) || die "other bytes"
    packets=$(($(cat $counters/rcvd_pkts) - packets)) bytes=$(($(number fabric_bytes) - before))
    say "of $size bytes $bytes came over RDMA by the mount's account, in $packets packets by the device's"
    # An emulated processor may stop for longer than a queue pair sends again (half a second): then the lane is
    # broken, and what was on its way comes over HTTP.
    [[ $bytes -ge $((size / 2)) ]] || die "only $bytes bytes came over RDMA"
    [[ $bytes -ge $size ]] || fallbacks || true
    [[ $packets -ge $((bytes / 4096)) ]] || die "the device received only $packets packets"
}

# Reads files of a set in the background, one after the other; `report` has a line for each.
begin() {
    : >$DIR/report
    reading "$1" & reader=$!
}
# Every file: `right`, `failed`, or `wrong`, and the seconds it took. What was read of one
# that failed has to be right as well.
reading() {
    local file began status took
    for file in "$DIR/files/$1"/*; do
        [[ ! -e $DIR/enough ]] || return 0
        began=$SECONDS status=0
        if [[ ${file##*/} == b ]]; then
            slowly "$DIR/mnt/$1/b" >$DIR/got || status=$?
        else
            bounded cat "$DIR/mnt/$1/${file##*/}" >$DIR/got || status=$?
        fi
        if [[ $status == 0 ]]; then
            cmp -s $DIR/got "$file" && status=right || status=wrong
        else
            cmp -s -n "$(size_of $DIR/got)" $DIR/got "$file" && status=failed || status=wrong
        fi
        took=$((SECONDS - began))
        [[ ${file##*/} != b ]] || took=$(<$DIR/slowest)
        echo "$status $took ${file##*/}" >>$DIR/report
    done
}
bounded() { timeout -k 5 $((2 * BOUND)) "$@" 2>>$DIR/reader.log; }
# Reads a file with pauses, so that a fault comes in the middle of it.
slowly() { in_parts <"$1"; }
in_parts() {
    local before began took status
    : >$DIR/part
    echo 0 >$DIR/slowest
    while before=$(size_of $DIR/part); do
        began=$SECONDS
        bounded dd bs=1M count=1 >>$DIR/part && status=0 || status=$?
        took=$((SECONDS - began))
        [[ $took -le $(<$DIR/slowest) ]] || echo $took >$DIR/slowest
        [[ $status == 0 ]] || return "$status"
        [[ $(size_of $DIR/part) -gt $before ]] || break
        tail -c +$((before + 1)) $DIR/part
        sleep 0.2
    done
}
# Whether the background has read that many files.
have_read() { [[ $(wc -l <$DIR/report) -ge $1 ]]; }
# Whether it is in the middle of b.
in_b() { have_read 3 && [[ $(size_of $DIR/got) -gt 1000000 ]]; }
# Now the fault is there: says of what it was in the middle, and that there is something left to read.
struck() {
    say "$1 while file $(($(wc -l <$DIR/report) + 1)) of $FILES is read"
    ! have_read $FILES || die "$1 too late to matter"
}
count() { grep -c "^$1" $DIR/report || true; }
# Sees that nothing was wrong and nothing took too long.
judge() {
    local longest
    wait "$reader" || die "the reader stumbled"
    longest=$(sort -rnk2 $DIR/report | head -n1)
    say "$1: $(count right) right, $(count failed) failed, $(count wrong) wrong; the slowest: $longest"
    [[ $(count wrong) == 0 ]] || die "$1: other bytes: $(grep ^wrong $DIR/report)"
    awk -v bound=$BOUND '$2 > bound { exit 1 }' $DIR/report || die "$1: $longest took longer than $BOUND s"
}

the_sidecar_is_killed() {
    local before size
    before=$(number fabric_bytes) size=$(size_of $DIR/files/killed)
    begin killed
    until_true "b is read" in_b
    flag kill-sidecar
    await sidecar-killed
    struck "the sidecar is killed"
    judge "a killed sidecar"
    [[ $(count right) == "$FILES" ]] || die "a read failed: HTTP was there"
    [[ $(($(number fabric_bytes) - before)) -lt $size ]] || die "it was killed too late to matter"
}

# Reads files of a set until some bytes came over RDMA again.
until_rdma() {
    local before file packets
    before=$(number fabric_bytes)
    for file in "$DIR/files/$1"/c*; do
        packets=$(cat $counters/rcvd_pkts)
        until_true "${file##*/} can be read" cmp "$DIR/mnt/$1/${file##*/}" "$file"
        if [[ $(number fabric_bytes) -gt $before ]]; then
            packets=$(($(cat $counters/rcvd_pkts) - packets))
            say "$2: ${file##*/} came over RDMA, in $packets packets"
            [[ $packets -gt 0 ]] || die "the device knows nothing of it"
            cmp "$DIR/mnt/$1/b" "$DIR/files/$1/b" || die "other bytes"
            return
        fi
        sleep 1
    done
    die "$2: nothing comes over RDMA"
}

the_sidecar_is_back() {
    flag start-sidecar
    await sidecar-back
    until_rdma back "the sidecar is back"
}

# HTTP goes over the same cable: reads fail then, or wait.
the_cable_is_pulled() {
    begin cut
    until_true "b is read" in_b
    "$RDMA_VM" ctl link 2 off
    struck "the cable is pulled"
    until_true "a read ends without the cable" failed_once
    "$RDMA_VM" ctl link 2 on
    judge "a pulled cable"
}
failed_once() { [[ $(count failed) -gt 0 ]]; }

the_cable_is_back() { until_rdma restored "the cable is back"; }

host_1_is_killed() {
    begin dead
    until_true "b is read" in_b
    "$RDMA_VM" ctl kill 1
    struck "host 1 is killed"
    # All the files that are left would take long: some do.
    until_true "reads end when host 1 is dead" failed_twice
    : >$DIR/enough
    judge "a dead host"
    local began=$SECONDS
    fusermount3 -u $DIR/mnt || fusermount3 -uz $DIR/mnt
    wait "$mount" || true
    [[ $((SECONDS - began)) -le $BOUND ]] || die "unmounting took $((SECONDS - began)) s"
}
failed_twice() { [[ $(count failed) -ge 2 ]]; }

"host_$RDMA_VM_HOST"

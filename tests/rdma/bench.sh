#!/usr/bin/env bash
# Runs in a virtual machine with a verbs device: needles read over RDMA (riptide ping) beside what
# perftest does with the same device. Prints ratios and judges nothing.
#   bench.sh RIPTIDE WEED [COUNT]
set -euo pipefail
readonly RIPTIDE=$1 WEED=$2 COUNT=${3:-500}
# shellcheck source=tests/rdma/common.sh
. "${0%/*}/common.sh"

readonly SIZES="64 4096 65536 1048576"
# Of the one needle; a filer cuts files in chunks of 4 MiB.
readonly NEEDLE=4000000
port=18500

# Runs a perftest tool against itself. What it says itself is of no use in a virtual machine, because it
# takes the emulated processor's clock for a real one; so the time of a run is taken.
perftest() {
    local tool=$1 server
    shift
    port=$((port + 1))
    timeout 120 "$tool" -F -d rxe0 -x 1 -p $port "$@" >/dev/null 2>&1 & server=$!
    until_true "$tool listens" grep "$(printf ':%04X 00000000:0000 0A' $port)" /proc/net/tcp
    timeout 120 "$tool" -F -d rxe0 -x 1 -p $port "$@" $IP >/dev/null 2>&1
    wait "$server"
}
now() { echo "${EPOCHREALTIME/./}"; }
# Microseconds that one more iteration takes: what a long run takes beyond a short one. A start takes
# half a second, and differs by some hundredths: a run is much longer.
each() {
    local more=$1 began short
    shift
    began=$(now)
    perftest "$@" -n 100
    short=$(($(now) - began)) began=$(now)
    perftest "$@" -n $((100 + more))
    awk -v a=$(($(now) - began - short)) -v n="$more" 'BEGIN { printf "%.1f", a / n }'
}
# Microseconds that one more MiB takes when four read at once, each some more.
each_of_four() {
    local more=$1 began short
    began=$(now)
    four 10
    short=$(($(now) - began)) began=$(now)
    four $((10 + more))
    awk -v a=$(($(now) - began - short)) -v n=$((4 * more)) 'BEGIN { printf "%.1f", a / n }'
}
four() {
    local i readers=()
    for i in 1 2 3 4; do
        "$RIPTIDE" ping -count "$1" -size 1048576 $IP:8081 "$id" >$DIR/ping$i & readers+=($!)
    done
    for i in "${readers[@]}"; do wait "$i"; done
}
# Of a table by riptide ping: a row's column, in microseconds where it is a time.
column() {
    awk -v what="$1" -v at="$2" '$1 == "rdma" && index($0, what " ") {
        sub(what " ", "what "); sub(/^rdma +what +/, ""); gsub(/ us/, "")
        while (match($0, /[0-9.]+ ms/)) {
            $0 = substr($0, 1, RSTART - 1) 1000 * substr($0, RSTART) substr($0, RSTART + RLENGTH)
        }
        print $at
        exit
    }' $DIR/ping
}
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", a / b }'; }

# In memory, and not behind the overlay that the machine's other folders are.
mkdir -p $DIR
mount -t tmpfs bench $DIR
mkdir $DIR/files{,/bench}
head -c $NEEDLE /dev/urandom >$DIR/files/bench/needle
cluster
store $DIR/files/bench
start_sidecar
id=$(curl -sf "http://$IP:8888/bench/needle?metadata=true" | grep -o '"file_id": *"[^"]*"' | head -n1 | cut -d'"' -f4)
packets=$(<$counters/rcvd_pkts)
"$RIPTIDE" ping -count "$COUNT" -size "${SIZES// /,}" $IP:8081 "$id" | tee $DIR/ping
# The device's counters are read anew every 10 ms.
sleep 0.1
packets=$(($(<$counters/rcvd_pkts) - packets)) needed=0
for size in $SIZES; do needed=$((needed + COUNT * ((size + 4095) / 4096))); done
echo
echo "rxe0 received $packets packets of at most 4096 bytes; the data read fills $needed"
((packets >= needed)) || die "less went over the device than was read"

echo
printf '%-9s %12s %12s %12s %12s %8s %8s %10s\n' 'us, bytes' 'riptide p50' ib_read_lat ib_write_lat \
    'read_lat -e' '/ read' '/ write' '/ read -e'
for size in $SIZES; do
    ours=$(column "read $size" 3)
    more=$((size > 65536 ? COUNT : 20 * COUNT))
    read_lat=$(each $more ib_read_lat -s "$size")
    # There and back.
    write_lat=$(each $more ib_write_lat -s "$size")
    # ib_read_lat asleep until the device has something to tell, as Riptide is after a look of 100 us.
    asleep=$(each $((more / 4)) ib_read_lat -e -s "$size")
    printf '%-9s %12s %12s %12s %12s %8s %8s %10s\n' "$size" "$ours" "$read_lat" "$write_lat" "$asleep" \
        "$(ratio "$ours" "$read_lat")" "$(ratio "$ours" "$write_lat")" "$(ratio "$ours" "$asleep")"
done
theirs=$(each "$COUNT" ib_write_bw -s 1048576)
ours=$(each_of_four $((COUNT / 5)))
echo "us for each MiB: riptide with four readers $ours, ib_write_bw with a full queue $theirs," \
    "bandwidth $(ratio "$theirs" "$ours")"
kill "$sidecar"

#!/usr/bin/env bash
# Runs in a virtual machine with a verbs device: reads real files through a real mount, whose bytes
# come over RDMA, and loses the sidecar on the way.
#   mount.sh RIPTIDE WEED
set -euo pipefail
readonly RIPTIDE=$1 WEED=$2 IP=10.77.0.1
readonly DIR=/tmp/rdma-mount
readonly counters=/sys/class/infiniband/rxe0/ports/1/hw_counters
die() { echo "mount: $*" >&2; tail -n 20 $DIR/*.log >&2; exit 1; }
# Asks again, for as long as a slow machine may take.
until_true() {
    local what=$1 i
    shift
    for ((i = 0; i < 300; i++)); do
        "$@" >/dev/null 2>&1 && return
        sleep 0.2
    done
    die "never: $what"
}
sidecar() {
    "$RIPTIDE" sidecar -enable-rdma -transports rdma -volume-server $IP:8080 -filer $IP:8888 \
        -port 8081 >>$DIR/sidecar.log 2>&1 &
    sidecar=$!
    until_true "the sidecar offers RDMA" health
}
health() { grep -q '"connected":true' <<<"$(curl -sf http://$IP:8081/health)"; }
# A statistic of the mount, as far as it is about RDMA.
number() {
    "$RIPTIDE" stats --json --once $DIR/mnt | tr -d ' \n' | grep -o "\"$1\":\[[^]]*\]" |
        grep -o '"carrier":"rdma"[^{}]*},"value":[0-9]*' | grep -o '[0-9]*$' || echo 0
}
# Without the disk cache, from which a remount would read all that the last mount has read.
mount_it() {
    "$RIPTIDE" mount -filer $IP:8888 -dir $DIR/mnt -rdma.enabled -cacheCapacityMB 0 -readerCacheSizeMB 64 "$@" \
        >>$DIR/mount.log 2>&1 &
    mount=$!
    until_true "mounted" mountpoint -q $DIR/mnt
}
sums() { (cd "$1" && find . -type f | sort | xargs sha256sum); }

mkdir -p $DIR/data $DIR/mnt $DIR/files
for ((i = 0; i < 40; i++)); do head -c $((i * 997 + 1)) /dev/urandom >$DIR/files/small$i; done
for ((i = 0; i < 3; i++)); do head -c $((7340033 + i)) /dev/urandom >$DIR/files/large$i; done
"$WEED" server -dir $DIR/data -ip $IP -filer -volume.max 20 >$DIR/weed.log 2>&1 &
until_true "the filer answers" curl -sf http://$IP:8888/
for file in "$DIR"/files/*; do
    until_true "stored ${file##*/}" curl -sf -F "file=@$file" "http://$IP:8888/files/${file##*/}"
done
sidecar
curl -s http://$IP:8081/health; echo
mount_it
before=$(cat $counters/sent_pkts)
diff <(sums $DIR/files) <(sums $DIR/mnt/files) || die "other bytes"
packets=$(($(cat $counters/sent_pkts) - before))
bytes=$(number fabric_bytes)
echo "over RDMA: $bytes bytes by the mount's account, $packets packets by the device's"
size=$(cat "$DIR"/files/* | wc -c)
[[ $bytes -ge $size ]] || die "of $size bytes $bytes came over RDMA"
# A packet holds 4 KiB.
[[ $packets -ge $((size / 4096)) ]] || die "the device sent only $packets packets"

# Random ranges, of files that the cache no longer holds.
for ((i = 0; i < 12; i++)); do
    at=$((RANDOM * 200)) len=$((RANDOM * 8 + 1)) name=large$((RANDOM % 3))
    cmp <(tail -c +$((at + 1)) $DIR/files/$name | head -c $len) \
        <(dd if=$DIR/mnt/files/$name iflag=skip_bytes,count_bytes skip=$at count=$len status=none) ||
        die "other bytes at $at of $name"
done

# The sidecar is killed under a reader: its reads go on over HTTP, and over RDMA when it is back.
remount() { fusermount3 -u $DIR/mnt; wait $mount || true; mount_it; }
# Remounts, and reads until it shows that it reads over RDMA: a first try may find the machine slow.
over_rdma() {
    local i
    for ((i = 0; i < 10; i++)); do
        remount
        cat $DIR/mnt/files/large0 | cmp - $DIR/files/large0 || die "other bytes"
        [[ $(number fabric_bytes) -eq 0 ]] || return 0
        sleep 1
    done
    die "no RDMA after ten mounts"
}
over_rdma
sums $DIR/mnt/files >$DIR/during & reader=$!
sleep 0.3
kill -9 $sidecar
wait $reader || die "a read failed when the sidecar was killed"
diff <(sums $DIR/files) $DIR/during || die "other bytes when the sidecar was killed"
before=$(number fabric_bytes)
echo "killed under a reader: $before bytes had come over RDMA, all were right"
[[ $before -lt $((size + 7340033)) ]] || die "it was killed too late to matter"
sidecar
over_rdma
diff <(sums $DIR/files) <(sums $DIR/mnt/files) || die "other bytes when the sidecar was back"
echo "the sidecar is back: $(number fabric_bytes) bytes over RDMA"
kill $sidecar
fusermount3 -u $DIR/mnt; wait $mount || true
echo "mount: passed"

#!/usr/bin/env bash
# Runs in a virtual machine with a verbs device: reads and writes real files through a real mount, whose
# bytes come and go over RDMA, and loses the sidecar on the way.
#   mount.sh RIPTIDE WEED
set -euo pipefail
readonly RIPTIDE=$1 WEED=$2
# shellcheck source=tests/rdma/common.sh
. "${0%/*}/common.sh"

mkdir -p $DIR/files
for ((i = 0; i < 40; i++)); do head -c $((i * 997 + 1)) /dev/urandom >$DIR/files/small$i; done
for ((i = 0; i < 3; i++)); do head -c $((7340033 + i)) /dev/urandom >$DIR/files/large$i; done
size=$(size_of $DIR/files)
cluster
store $DIR/files
start_sidecar
known() { grep -q '"volumes":\[[0-9]' <<<"$(curl -sf http://$IP:8081/health)"; }
until_true "the sidecar knows its volumes" known
curl -s http://$IP:8081/health; echo
doctor=$("$RIPTIDE" doctor -filer $IP:8888) || die "the doctor sees a failure: $doctor"
echo "$doctor"
for line in 'ok +RDMA +usable: rxe0' 'ok +RDMA rxe0/1 +ACTIVE, Ethernet, .*packets of 4096, GIDs .* 1 10.77.0.1 \(RoCE v2\)' \
    "ok +rdma $IP:18081 +a lane opens" "ok +volumes $IP:8080 .*over rdma"; do
    grep -qE "^$line" <<<"$doctor" || die "the doctor does not say: $line"
done
# The first mount has its memory in reserved huge pages, those after it in ordinary ones.
readonly PAGES=60
echo $PAGES >/proc/sys/vm/nr_hugepages
[[ $(</proc/sys/vm/nr_hugepages) == "$PAGES" ]] || die "the machine has no $PAGES huge pages"
mount_flags=(-rdma.hugePages)
mount_it
mount_flags=()

# Compares all files, and the bytes that came with what the device says that it carried.
read_all() {
    local packets bytes
    packets=$(cat $counters/sent_pkts) bytes=$(number fabric_bytes)
    diff <(sums $DIR/files) <(sums $DIR/mnt/files) || die "other bytes"
    packets=$(($(cat $counters/sent_pkts) - packets)) bytes=$(($(number fabric_bytes) - bytes))
    echo "over RDMA: $bytes bytes by the mount's account, $packets packets by the device's"
    [[ $bytes -ge $1 ]] || die "of $size bytes $bytes came over RDMA, at least $1 expected"
    # A packet holds 4 KiB.
    [[ $packets -ge $(($1 / 4096)) ]] || die "the device sent only $packets packets"
}
read_all "$size"
echo "answers that the mount had polled for: $(number fabric_polled)"
free=$(awk '/^HugePages_Free/ { print $2 }' /proc/meminfo)
echo "huge pages: $((PAGES - free)) of $PAGES are in use"
[[ $free -lt $PAGES ]] || die "no huge page was used"

# Writes all files to a folder, and compares them as the filer gives them; and the bytes that went with
# what the device says that it carried.
write_all() {
    local packets bytes
    packets=$(cat $counters/sent_pkts) bytes=$(number fabric_write_bytes)
    mkdir "$DIR/mnt/$1"
    cp "$DIR"/files/* "$DIR/mnt/$1/" || die "cannot write"
    packets=$(($(cat $counters/sent_pkts) - packets)) bytes=$(($(number fabric_write_bytes) - bytes))
    echo "over RDMA: $bytes bytes written by the mount's account, $packets packets by the device's"
    written "$1"
    [[ $bytes -ge $2 ]] || die "of $size bytes $bytes went over RDMA, at least $2 expected"
    [[ $packets -ge $(($2 / 4096)) ]] || die "the device sent only $packets packets"
}
# Whether the filer has all files in a folder as they were written.
written() {
    local file
    mkdir -p $DIR/filer
    for file in "$DIR"/files/*; do
        curl -sf "http://$IP:8888/$1/${file##*/}" -o $DIR/filer/one || die "no $1/${file##*/}"
        cmp $DIR/filer/one "$file" || die "other bytes in $1/${file##*/}"
    done
}
write_all written "$size"

# Random ranges, of files that the cache no longer holds.
for ((i = 0; i < 12; i++)); do
    at=$((RANDOM * 200)) len=$((RANDOM * 8 + 1)) name=large$((RANDOM % 3))
    cmp <(tail -c +$((at + 1)) $DIR/files/$name | head -c $len) \
        <(dd if=$DIR/mnt/files/$name iflag=skip_bytes,count_bytes skip=$at count=$len status=none) ||
        die "other bytes at $at of $name"
done

# Remounts, and reads until it shows that it reads over RDMA: a first try may find the machine slow.
over_rdma() {
    local i
    for ((i = 0; i < 10; i++)); do
        unmount
        mount_it
        cat $DIR/mnt/files/large0 | cmp - $DIR/files/large0 || die "other bytes"
        [[ $(number fabric_bytes) -eq 0 ]] || return 0
        sleep 1
    done
    die "no RDMA after ten mounts"
}
# The same sums as `sums`, slowly enough to do something meanwhile.
slowly() {
    local file
    cd "$1"
    for file in $(find . -type f | sort); do
        sha256sum "$file" || return
        sleep 0.2
    done
}
came() { [[ $(number fabric_bytes) -gt $1 ]]; }

# The sidecar is killed under a reader: its reads go on over HTTP, and over RDMA when it is back.
over_rdma
before=$(number fabric_bytes)
(slowly $DIR/mnt/files) >$DIR/during & reader=$!
until_true "the reader reads over RDMA" came "$before"
kill -9 "$sidecar"
kill -0 "$reader" || die "the reader has ended too early"
wait "$reader" || die "a read failed when the sidecar was killed"
diff <(sums $DIR/files) $DIR/during || die "other bytes when the sidecar was killed"
during=$(($(number fabric_bytes) - before))
echo "killed under a reader: $during of $size bytes came over RDMA, all were right"
# large0 was in memory.
[[ $during -lt $((size - 7340033)) ]] || die "it was killed too late to matter"
start_sidecar
over_rdma
read_all $((size - 7340033))

# The same under a writer.
went() { [[ $(number fabric_writes) -gt $1 ]]; }
slowly_write() {
    local file
    for file in "$DIR"/files/*; do
        cp "$file" $DIR/mnt/killed/ || return
        sleep 0.2
    done
}
mkdir $DIR/mnt/killed
before=$(number fabric_writes)
slowly_write & writer=$!
until_true "the writer writes over RDMA" went "$((before + 5))"
kill -9 "$sidecar"
kill -0 "$writer" || die "the writer has ended too early"
wait "$writer" || die "a write failed when the sidecar was killed"
written killed
echo "killed under a writer: all that was written is right"
start_sidecar
before=$(number fabric_writes)
again() {
    cp $DIR/files/large1 "$DIR/mnt/killed/again$RANDOM"
    went "$before"
}
until_true "writes go over RDMA again" again
kill "$sidecar"
unmount
echo "mount: passed"

# shellcheck shell=bash
# shellcheck disable=SC2034  # what is set here is read by the scripts that source this
# What the scripts share that test a real cluster, sidecar and mount in virtual machines with a verbs
# device. Sourced with the paths of riptide and weed in RIPTIDE and WEED.
readonly IP=10.77.0.1
readonly DIR=/tmp/rdma-mount
readonly counters=/sys/class/infiniband/rxe0/ports/1/hw_counters
sidecar='' mount=''
# Further flags of mounts.
mount_flags=()

die() {
    echo "${0##*/}: $*" >&2
    fallbacks >&2 || true
    tail -n 20 $DIR/*.log >&2
    exit 1
}
# Why reads and writes did not go over the fabric, with counts.
fallbacks() {
    timeout 10 "$RIPTIDE" stats --json --once $DIR/mnt | tr -d ' \n' |
        grep -oE '"reason":"[a-z_]*"},"value":[1-9][0-9]*'
}
# Asks again, for as long as a slow machine may take.
until_true() {
    local what=$1 end=$((SECONDS + 200))
    shift
    while ! "$@" >/dev/null 2>&1; do
        ((SECONDS < end)) || die "never: $what"
        sleep 0.2
    done
}

# Stores what is in a folder as files of the cluster's folder of that name; with one program, because
# to start one takes long.
store() {
    local file all=(--fail-early)
    for file in "$1"/*; do
        all+=(-sf -F "file=@$file" "http://$IP:8888/${1##*/}/${file##*/}" --next)
    done
    unset 'all[-1]'
    until_true "stored $1" curl "${all[@]}"
}
cluster() {
    mkdir -p $DIR/data $DIR/mnt
    "$WEED" server -dir $DIR/data -ip $IP -filer -volume.max 20 >$DIR/weed.log 2>&1 &
    until_true "the filer answers" curl -sf http://$IP:8888/
}
start_sidecar() {
    "$RIPTIDE" sidecar -enable-rdma -transports rdma -volume-server $IP:8080 -filer $IP:8888 \
        -port 8081 >>$DIR/sidecar.log 2>&1 &
    sidecar=$!
    until_true "the sidecar offers RDMA" health
}
health() { grep -q '"connected":true' <<<"$(curl -sf http://$IP:8081/health)"; }

# Without the disk cache, from which a remount would read all that the last mount has read.
mount_it() {
    mkdir -p $DIR/mnt
    RUST_LOG=info,fabric::read=debug "$RIPTIDE" mount -filer $IP:8888 -dir $DIR/mnt -rdma.enabled -cacheCapacityMB 0 -readerCacheSizeMB 64 "${mount_flags[@]}" \
        >>$DIR/mount.log 2>&1 &
    mount=$!
    until_true "mounted" mountpoint -q $DIR/mnt
}
unmount() { fusermount3 -u $DIR/mnt; wait "$mount" || true; }
# A statistic of the mount, as far as it is about RDMA.
number() {
    "$RIPTIDE" stats --json --once $DIR/mnt | tr -d ' \n' | grep -o "\"$1\":\[[^]]*\]" |
        grep -o '"carrier":"rdma"[^{}]*},"value":[0-9]*' | grep -o '[0-9]*$' || echo 0
}
sums() { (cd "$1" && find . -type f | sort | xargs sha256sum); }
size_of() { find "$1" -type f -printf '%s\n' | awk '{ sum += $1 } END { print sum + 0 }'; }

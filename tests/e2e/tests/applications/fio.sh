#!/usr/bin/env bash
# Random writes whose blocks carry their checksums, read back by another process.
. "${0%/*}/common.sh"
needs fio
# It leaves a file where it runs. With its usual generator and 512 MB it (3.33) looks for blocks that it has
# not written, on any file system.
cd "$local"
for direct in 0 1; do
    job=(--name=verified --filename="$mount/fio.$direct" --size="$(amount 32 512)M" --rw=randwrite
        --bs=4k-64k --ioengine=psync --direct=$direct --verify=crc32c --randseed=11
        --allrandrepeat=1 --random_generator=tausworthe64 --minimal)
    fio "${job[@]}" --do_verify=0 --end_fsync=1 >/dev/null
    fio "${job[@]}" --verify_only --verify_fatal=1 >/dev/null
done

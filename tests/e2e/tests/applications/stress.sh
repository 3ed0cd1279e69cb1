#!/usr/bin/env bash
# The file stressors of stress-ng that verify what they do.
. "${0%/*}/common.sh"
needs stress-ng
for stressor in hdd rename link symlink dentry dir fallocate utime chmod filename; do
    stress-ng --"$stressor" 2 --timeout "$(amount 2 10)" --temp-path "$mount" --verify --quiet ||
        die "stress-ng --$stressor: $?"
done
[[ -z $(ls -A "$mount") ]] || die "left behind: $(ls -A "$mount")"

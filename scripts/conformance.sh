#!/usr/bin/env bash
# What a mount that writes has to pass, for longer than `make test` has time for:
#   - pjdfstest on a Riptide mount, and on a stock `weed mount`, whose result is printed to
#     compare with
#   - random operations on files (tests/e2e/tests/exercise.rs): STEPS of them (default 100,000)
#     with each of SEEDS seeds (default 10, from FIRST on) in each of five ways
#   - random sequences of operations on names and files, against a local file system: CASES of
#     them (default 1,000); how many of these a stock `weed mount` does otherwise is printed
#   - programs that people run (tests/e2e/tests/applications), with large jobs
#   - servers that restart, clean up or are full under programs that write
#   - fsx, another program that does such things: OPS operations (default 100,000) with ten
#     seeds in each of five ways
# usage: scripts/conformance.sh [PART]...   all parts when none is named; they are:
#        pjdfstest exercise reference applications faults fsx
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/setup.sh

cargo build --workspace --bins --tests
RIPTIDE_BIN=${RIPTIDE_BIN:-${CARGO_TARGET_DIR:-target}/debug/riptide}
RIPTIDE_BIN=$(realpath "$RIPTIDE_BIN")
export RIPTIDE_BIN

e2e() { cargo test --quiet --package e2e -- --nocapture "$@"; }

pjdfstest() { e2e conformance:: --include-ignored --test-threads=1; }

exercise() {
    RIPTIDE_EXERCISE_STEPS=${STEPS:-100000} RIPTIDE_EXERCISE_SEEDS=${SEEDS:-10} \
        RIPTIDE_EXERCISE_FIRST=${FIRST:-1} e2e exercise:: --test-threads=2
}

reference() {
    RIPTIDE_REFERENCE_CASES=${CASES:-1000} e2e reference:: --include-ignored --test-threads=2
}

applications() {
    scripts/setup.sh --applications
    # Where Debian has PostgreSQL's programs.
    local postgresql
    postgresql=$(compgen -G '/usr/lib/postgresql/*/bin' | tail -n 1 || true)
    PATH=$PATH${postgresql:+:$postgresql}
    export PATH
    RIPTIDE_APPLICATIONS=full e2e applications:: --include-ignored --test-threads=1
}

faults() { e2e faults::writers --include-ignored --test-threads=2; }

fsx() { scripts/fsx.sh; }

[[ $# -gt 0 ]] || set -- pjdfstest exercise reference applications faults fsx
for part in "$@"; do
    case $part in
    pjdfstest | exercise | reference | applications | faults | fsx) "$part" ;;
    *)
        printf 'conformance: no part is called %s\n' "$part" >&2
        exit 2
        ;;
    esac
done

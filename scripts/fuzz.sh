#!/usr/bin/env bash
# Runs each fuzz target for a while: scripts/fuzz.sh [SECONDS] [TARGET...]
set -euo pipefail
cd "$(dirname "$0")/.."

readonly TOOLS=$PWD/.tools/cargo
export PATH=$TOOLS/bin:$PATH

seconds=${1:-60}
shift || true

grep -q '^nightly' <<<"$(rustup toolchain list)" || rustup toolchain install nightly --profile minimal
if ! command -v cargo-fuzz >/dev/null 2>&1; then
    printf 'fuzz: installing cargo-fuzz into .tools (a minute, once)\n'
    cargo install --quiet --locked --root "$TOOLS" cargo-fuzz
fi

targets=("$@")
((${#targets[@]})) || mapfile -t targets < <(cargo +nightly fuzz list)
for target in "${targets[@]}"; do
    printf 'fuzz: %s for %s s\n' "$target" "$seconds"
    # What it finds on its way lands in corpus/, which git ignores; seeds/ is read only.
    mkdir -p "fuzz/corpus/$target"
    seeds=()
    [[ -d fuzz/seeds/$target ]] && seeds=("fuzz/seeds/$target")
    cargo +nightly fuzz run "$target" "fuzz/corpus/$target" "${seeds[@]}" -- \
        -max_total_time="$seconds" -rss_limit_mb=2048
done

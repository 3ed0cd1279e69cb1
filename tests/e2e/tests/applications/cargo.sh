#!/usr/bin/env bash
# Builds a small crate with its target folder on the mount, twice, and runs it.
. "${0%/*}/common.sh"
needs cargo
export CARGO_TARGET_DIR=
unset CARGO_TARGET_DIR
cd "$mount"
cargo new -q --vcs none built
cd built
for n in $(seq "$(amount 5 40)"); do
    printf 'pub fn f(x: u64) -> u64 { (0..x).map(|n| n * %s).sum() }\n' "$n" >"src/m$n.rs"
    printf 'mod m%s;\n' "$n"
done >src/mods
{
    cat src/mods
    printf 'fn main() { let mut all = 0;\n'
    for n in $(seq "$(amount 5 40)"); do printf 'all += m%s::f(10);\n' "$n"; done
    printf 'println!("{all}"); }\n'
} >src/main.rs
wanted=$(amount $((45 * 15)) $((45 * 820)))
got=$(cargo run -q --offline)
[[ $got == "$wanted" ]] || die "$got instead of $wanted"
said=$(cargo build --offline 2>&1)
[[ $said != *Compiling* ]] || die "nothing has changed, and it is built again"
echo '// changed' >>src/main.rs
said=$(cargo build --offline 2>&1)
[[ $said == *Compiling* ]] || die "a change is not seen"
[[ $(cargo run -q --offline) == "$wanted" ]]

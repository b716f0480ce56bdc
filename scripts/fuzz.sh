#!/usr/bin/env bash
# Feeds a codec with bytes that a fuzzer makes up, for so many seconds; a panic, an overrun or a disagreement
# that the target looks for is a failure, and its input is kept in fuzz/artifacts/TARGET.
#
#     scripts/fuzz.sh                                  # lists the targets
#     scripts/fuzz.sh TARGET SECONDS
#
# Needs a nightly toolchain; installs cargo-fuzz if it is missing. What it finds out is kept and built upon in
# fuzz/target/corpus/TARGET, along with the seeds of fuzz/seeds/TARGET. The last line counts; status 0 if the
# target held.
set -euo pipefail
cd "$(dirname "$0")/.."

targets() {
    sed -n 's|^path = "fuzz_targets/\(.*\)\.rs"$|\1|p' fuzz/Cargo.toml
}

usage() {
    echo 'usage: scripts/fuzz.sh TARGET SECONDS'
    echo 'targets:'
    targets | sed 's/^/    /'
}

require_tools() {
    if ! cargo +nightly --version > /dev/null 2>&1; then
        echo 'Fuzzing needs a nightly toolchain: rustup toolchain install nightly --profile minimal' >&2
        exit 1
    fi
    cargo +nightly fuzz --version > /dev/null 2>&1 || cargo install cargo-fuzz --locked
}

# copy_seeds TARGET CORPUS
copy_seeds() {
    mkdir -p "$2"
    [ ! -d "fuzz/seeds/$1" ] || cp -R "fuzz/seeds/$1/." "$2"
}

main() {
    if [ $# -eq 0 ]; then
        usage
        return
    fi
    if [ $# -ne 2 ] || ! targets | grep -qxF -- "$1" || ! [[ $2 =~ ^[1-9][0-9]*$ ]]; then
        usage >&2
        return 2
    fi
    local target=$1 seconds=$2 corpus=fuzz/target/corpus/$1
    require_tools
    copy_seeds "$target" "$corpus"
    if cargo +nightly fuzz run "$target" "$corpus" -- -max_total_time="$seconds" -print_final_stats=1; then
        echo '1 passed, 0 failed'
    else
        echo '0 passed, 1 failed'
        return 1
    fi
}

main "$@"

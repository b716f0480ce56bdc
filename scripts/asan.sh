#!/usr/bin/env bash
# Runs the whole test suite with the address sanitizer, which also looks for leaks at the end of each process.
#
#     scripts/asan.sh                     # everything
#     scripts/asan.sh -p peregrine --lib  # as `cargo test` would
#
# Needs a nightly toolchain. Builds into target/asan. Tests that count bytes of memory or allocations, install
# filters of system calls or start the server as a child skip nothing: their processes are instrumented too.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! cargo +nightly --version > /dev/null 2>&1; then
    echo 'The sanitizer needs a nightly toolchain: rustup toolchain install nightly --profile minimal' >&2
    exit 1
fi
target=$(rustc +nightly -vV | sed -n 's/^host: //p')
export RUSTFLAGS="-Zsanitizer=address"
# A doctest is compiled by rustdoc, which has flags of its own.
export RUSTDOCFLAGS="-Zsanitizer=address"
export CARGO_TARGET_DIR=target/asan
[ $# -gt 0 ] || set -- --workspace
exec cargo +nightly test --locked --target "$target" "$@"

#!/usr/bin/env bash
# Runs the whole test suite with the address sanitizer, which also looks for leaks at the end of each process.
#
#     scripts/asan.sh                     # everything
#     scripts/asan.sh -p peregrine --lib  # as `cargo test` would
#
# Needs a nightly toolchain. Builds into target/asan. Left out are two tests: that of the memory of idle connections,
# which would count the sanitizer's, and that of a kernel that refuses io_uring_enter after it has been lent memory,
# which is then leaked on purpose (docs/UNSAFE.md, LENT-UNTIL-FINAL).
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
[ $# -gt 0 ] || set -- --workspace --no-fail-fast
exec cargo +nightly test --locked --target "$target" "$@" -- \
    --skip an_idle_connection_costs --skip a_ring_is_allowed_but_no_operation

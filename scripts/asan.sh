#!/usr/bin/env bash
# Runs the whole test suite with the address sanitizer, which also looks for leaks at the end of each process.
#
#     scripts/asan.sh                     # everything
#     scripts/asan.sh -p peregrine --lib  # as `cargo test` would
#
# Needs a nightly toolchain. Builds into target/asan. Left out are four tests: two that measure the memory of a
# process, which would measure the sanitizer's too, and two in which the kernel does not hand back memory that it was
# lent, which is then leaked on purpose (docs/UNSAFE.md, LENT-UNTIL-FINAL).
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
    --skip an_idle_connection_costs \
    --skip memory_comes_on_demand_and_goes_back \
    --skip a_ring_is_allowed_but_no_operation \
    --skip memory_that_the_kernel_keeps_is_never_given_back

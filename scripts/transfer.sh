#!/usr/bin/env bash
# Builds all that the comparison of bulk transfers needs and runs it; arguments go to `transfer` (see
# bench/README.md).
set -euo pipefail
cd "$(dirname "$0")/.."

# Three builds, for a build of its own keeps features that one package turns on out of another.
cargo build --release --locked --package peregrine --example transfer
cargo build --release --locked --package peregrine-bench --bins
cargo build --release --locked --manifest-path bench/peers/Cargo.toml --target-dir bench/peers/target \
    --package hyper-peer

exec "${CARGO_TARGET_DIR:-target}/release/transfer" "$@"

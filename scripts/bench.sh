#!/usr/bin/env bash
# Builds all that the load comparison needs and runs it; arguments go to `compare` (see bench/README.md).
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v wrk > /dev/null; then
    run_as_root=()
    [ "$(id -u)" -eq 0 ] || run_as_root=(sudo)
    "${run_as_root[@]}" apt-get update
    "${run_as_root[@]}" apt-get install --yes --no-install-recommends wrk
fi

# A build for each, which keeps features that one package turns on out of another.
cargo build --release --locked --package peregrine-server
cargo build --release --locked --package peregrine-bench --bins
for peer in hyper-peer may-peer axum-peer actix-peer; do
    cargo build --release --locked --manifest-path bench/peers/Cargo.toml --target-dir bench/peers/target \
        --package "$peer"
done

# Every connection costs a descriptor on both ends.
ulimit -n "$(ulimit -H -n)"

exec "${CARGO_TARGET_DIR:-target}/release/compare" "$@"

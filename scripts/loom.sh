#!/usr/bin/env bash
# Runs every interleaving of the wake-ups between threads (engine/src/runtime/mailbox.rs), by models under loom.
#
#     scripts/loom.sh            # all models
#     scripts/loom.sh a_waker    # those whose name begins so
#
# Builds into target/loom, and takes two minutes at most, nearly all of it the first build.
set -euo pipefail
cd "$(dirname "$0")/.."

export RUSTFLAGS="--cfg loom ${RUSTFLAGS:-}"
export CARGO_TARGET_DIR=target/loom
# The models are small: what matters is how soon they are built.
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_DEBUG=0
exec cargo test --locked --package peregrine --lib --release -- "loom_models::${1:-}"

#!/usr/bin/env bash
# Attacks the command `peregrine` in every way that a client can: slow heads, bodies and readers, floods, resets,
# what never ends, what is no HTTP, abandoned bodies, too few descriptors. A normal client asks meanwhile.
#
#     scripts/faults.sh [--quick] [--only WORD] [--workers N]
#     PEREGRINE_DRIVER=epoll scripts/faults.sh
#     PROGRAM=target/debug/peregrine PROFILE=dev scripts/faults.sh --list
#
# Builds the server, unless PROGRAM names one, and the attacker, and takes about four minutes after that, with
# --quick one and a half. All of it runs on loopback: the server on core 0, the attacker on the last one. A line for
# each attack; the last line counts; status 0 if none failed.
set -euo pipefail
cd "$(dirname "$0")/.."

# The server's own settings come from the attacks, but which driver serves is the caller's choice.
for variable in $(compgen -e PEREGRINE_ || true); do
    case $variable in
        PEREGRINE_DRIVER | PEREGRINE_DRIVER_RUNG) ;;
        *) unset "$variable" ;;
    esac
done

profile=${PROFILE:-release}
target=${CARGO_TARGET_DIR:-target}/$profile
[ "$profile" != dev ] || target=${CARGO_TARGET_DIR:-target}/debug

# Two builds, for a build of its own keeps features that one package turns on out of another.
if [ -z "${PROGRAM:-}" ]; then
    cargo build --profile "$profile" --locked --package peregrine-server
fi
cargo build --profile "$profile" --locked --package peregrine-bench --bin hostile

# A copy, which a later build does not replace.
work=$(mktemp -d)
attacker=
clean_up() {
    [ -z "$attacker" ] || kill -KILL "$attacker" 2> /dev/null || true
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
cp "${PROGRAM:-$target/peregrine}" "$work/peregrine"

# Every hostile connection costs a descriptor on both ends.
ulimit -n "$(ulimit -H -n)"

# The servers die with their attacker.
taskset -c "$(($(nproc) - 1))" "$target/hostile" "$@" "$work/peregrine" &
attacker=$!
status=0
wait "$attacker" || status=$?
attacker=
(exit "$status")

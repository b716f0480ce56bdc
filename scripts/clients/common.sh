# What the scripts share: the build, a scratch directory, children, and counting checks.
# To be sourced.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
work=$(mktemp -d)
# shellcheck source=scripts/clients/machine.sh
source "$root/scripts/clients/machine.sh"
passed=0
failed=0
declare -A children=()

# Nobody's settings but ours; proxies in the environment are not for loopback.
unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY

clean_up() {
    local pid
    for pid in "${!children[@]}"; do
        kill -KILL "$pid" 2> /dev/null || true
    done
    wait
    allow_services
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# --- Getting ready ---

# Builds the command and takes a copy, which a later build does not replace.
build() {
    (cd "$root" && cargo build --release --locked --package peregrine-server)
    local target=${CARGO_TARGET_DIR:-target}
    [[ $target == /* ]] || target=$root/$target
    cp "$target/release/peregrine" "$work/peregrine"
}

# await WHAT COMMAND...: tries the command for five seconds.
await() {
    local what=$1 try
    shift
    for try in {1..100}; do
        ! "$@" > /dev/null 2>&1 || return 0
        sleep 0.05
    done
    echo "gave up waiting for $what after $try tries" >&2
    return 1
}

# --- Children ---

# launch LOG COMMAND...: starts a child that writes to LOG, and leaves its id in `child`.
launch() {
    local log=$1
    shift
    "$@" > "$log" 2>&1 &
    child=$!
    children[$child]=$1
}

# finish PID SIGNAL: sends the signal, waits for the end and leaves the exit status in `ended`.
finish() {
    kill "-$2" "$1" 2> /dev/null || true
    ended=0
    # shellcheck disable=SC2034 # for the caller
    wait "$1" || ended=$?
    unset "children[$1]"
}

# start_peregrine URLS [FLAG...]: leaves the id in `peregrine` and the first port in `port`; an error if it does
# not start.
start_peregrine() {
    local urls=$1
    shift
    launch "$work/peregrine.log" "$work/peregrine" --urls "$urls" "$@"
    # shellcheck disable=SC2034 # for the caller
    peregrine=$child
    if ! await "the server to start" grep -q '^Application started' "$work/peregrine.log"; then
        cat "$work/peregrine.log" >&2
        return 1
    fi
    port=$(sed -n 's|^Now listening on: http://.*:\([0-9]*\)$|\1|p' "$work/peregrine.log" | head -n 1)
    grep '^Driver: ' "$work/peregrine.log"
}

# --- Checks ---

# check NAME COMMAND...: the command runs in a shell of its own, where whatever fails ends it; what it printed
# says why.
check() {
    local name=$1 detail status
    shift
    set +e
    detail=$(set -e; "$@" 2>&1)
    status=$?
    set -e
    if [ $status -eq 0 ]; then
        echo "ok $name"
        passed=$((passed + 1))
    else
        echo "FAIL $name: ${detail:-status $status, and not a word}"
        failed=$((failed + 1))
    fi
}

# is WHAT EXPECTED ACTUAL
is() {
    [ "$2" = "$3" ] || { echo "$1 is '$3', expected '$2'"; return 1; }
}

# has WHAT PATTERN ACTUAL: the pattern is an extended regular expression.
has() {
    [[ $3 =~ $2 ]] || { echo "$1 is '$3', expected a match of '$2'"; return 1; }
}

# The last line, and the exit status.
summary() {
    echo "$passed passed, $failed failed"
    [ "$failed" -eq 0 ]
}

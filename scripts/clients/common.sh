# What the scripts share: packages, the build, a scratch directory, children, and counting checks.
# To be sourced.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
work=$(mktemp -d)
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

as_root=()
[ "$(id -u)" -eq 0 ] || as_root=(sudo)
readonly POLICY=/usr/sbin/policy-rc.d
services_forbidden=

# Packages of servers start them, unless this file says no. Where there is one already it stays as it is.
forbid_services() {
    [ ! -e $POLICY ] || return 0
    services_forbidden=yes
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee $POLICY > /dev/null
    "${as_root[@]}" chmod 755 $POLICY
}

allow_services() {
    [ -n "$services_forbidden" ] || return 0
    "${as_root[@]}" rm -f $POLICY
    services_forbidden=
}

# need COMMAND PACKAGE ...: installs the packages whose commands are missing, and starts none of their services.
need() {
    local missing=()
    while [ $# -gt 0 ]; do
        command -v "$1" > /dev/null || missing+=("$2")
        shift 2
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    "${as_root[@]}" apt-get update
    forbid_services
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install --yes --no-install-recommends "${missing[@]}"
    allow_services
}

# Builds the command and takes a copy, which a later build does not replace.
build() {
    (cd "$root" && cargo build --release --locked --package peregrine-server)
    local target=${CARGO_TARGET_DIR:-target}
    [[ $target == /* ]] || target=$root/$target
    cp "$target/release/peregrine" "$work/peregrine"
}

# free_port FROM: a port from FROM to FROM + 999 on which nothing listens.
free_port() {
    local port
    while true; do
        port=$(($1 + RANDOM % 1000))
        (exec 3<> "/dev/tcp/127.0.0.1/$port") 2> /dev/null || break
    done
    echo "$port"
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
    wait "$1" || ended=$?
    unset "children[$1]"
}

# start_peregrine URLS [FLAG...]: leaves the id in `peregrine` and the first port in `port`; an error if it does
# not start.
start_peregrine() {
    local urls=$1
    shift
    launch "$work/peregrine.log" "$work/peregrine" --urls "$urls" "$@"
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

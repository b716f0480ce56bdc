#!/usr/bin/env bash
# Proves with strace that a warm server on io_uring calls the kernel for nothing but io_uring_enter: kept
# connections, after a second of load, for two seconds each of one request at a time, of sixteen at once, and of
# JSON. Prints the system calls of all of the server's threads, and how many responses one io_uring_enter brought.
#
#     scripts/strace.sh [FLAG...]                      # flags go to the server
#     PEREGRINE_DRIVER=epoll scripts/strace.sh         # prints the tables only
#
# The script installs what is missing (Debian packages), builds the server, and takes about fifteen seconds after
# that. The last line counts; status 0 if none failed, 77 if nothing can be proven here, because io_uring is
# refused or strace may not attach.
set -euo pipefail
clients=$(cd "$(dirname "$0")" && pwd)/clients
# shellcheck source=scripts/clients/common.sh
source "$clients/common.sh"

# cannot_prove WHY...: a line each.
cannot_prove() {
    printf '%s\n' "$@" >&2
    echo 'nothing can be proven here'
    exit 77
}

# start URLS [FLAG...]
start() {
    if ! start_peregrine "$@"; then
        if grep -qE '^peregrine: .*(io_uring_|provided buffers).*\((kernel\.io_uring_disabled|the kernel or the sandbox)' \
            "$work/peregrine.log"; then
            cannot_prove 'io_uring is refused here.'
        fi
        exit 1
    fi
}

# Ends here where strace may not attach to the server.
require_ptrace() {
    launch "$work/attach.log" strace -f -p "$peregrine" -o /dev/null
    await 'strace to attach' attached_or_ended
    finish "$child" INT
    if ! grep -q attached "$work/attach.log"; then
        cat "$work/attach.log" >&2
        cannot_prove 'strace may not attach to a process here. It needs the capability SYS_PTRACE (for a' \
            'container: --cap-add SYS_PTRACE), or the same user and 0 in /proc/sys/kernel/yama/ptrace_scope.'
    fi
}

attached_or_ended() {
    grep -q attached "$work/attach.log" || ! kill -0 "$child"
}

# The bytes that the server has sent on its open connections.
bytes_sent() {
    ss --tcp --info --no-header --oneline state established "sport = :$port" |
        sed -n 's/.* bytes_sent:\([0-9]*\).*/\1/p' | awk '{ sum += $1 } END { print sum + 0 }'
}

# trace DEPTH PATH: leaves the table in the file `table`, and in `responses` how many were sent meanwhile.
trace() {
    local url=http://127.0.0.1:$port$2 load bytes length
    length=$(curl --disable --silent --show-error --include "$url" | wc -c)
    launch "$work/wrk.log" env CONNECTIONS=64 DEPTH="$1" wrk -t1 -c64 -d4s -s "$root/bench/load.lua" "$url"
    load=$child
    sleep 1
    bytes=$(bytes_sent)
    launch "$work/strace.log" strace -c -f -p "$peregrine" -o "$work/table"
    sleep 2
    bytes=$(($(bytes_sent) - bytes))
    finish "$child" INT
    responses=$((bytes / length))
    wait "$load"
    unset "children[$load]"
}

# The rows of the table: calls and name.
rows() {
    awk '$1 ~ /^[0-9.]+$/ && $NF != "total" { print $4, $NF }' "$work/table"
}

is_ring_only() {
    [ "$(rows | cut -d ' ' -f 2)" = io_uring_enter ]
}

# show NAME DEPTH PATH
show() {
    local attempt
    # A pool that meets a new peak maps memory for it once, and being traced makes new peaks: the path is warm when
    # that is over. What a path calls every time it calls in every attempt.
    for attempt in 1 2 3; do
        trace "$2" "$3"
        if [ "$PEREGRINE_DRIVER" = epoll ] || is_ring_only; then break; fi
        echo "attempt $attempt of $1 met more than the ring: $(rows | tr '\n' ',')"
    done
    echo "--- $1"
    cat "$work/table"
    rows | awk -v responses="$responses" '
        { printf "%.1f responses per %s\n", responses / $1, $2 }'
    check "$1: under load" test "$responses" -gt 1000
    if [ "$PEREGRINE_DRIVER" != epoll ]; then
        check "$1: io_uring_enter only" is 'what was called' io_uring_enter "$(rows | cut -d ' ' -f 2)"
    fi
}

need curl curl wrk wrk strace strace ss iproute2
build
export PEREGRINE_DRIVER=${PEREGRINE_DRIVER:-io_uring}
start http://127.0.0.1:0 "$@"
require_ptrace
show 'plaintext' 1 /plaintext
show 'plaintext, 16 at once' 16 /plaintext
show 'json' 1 /json
finish "$peregrine" TERM
check 'SIGTERM: status 0' is 'the status' 0 "$ended"
summary

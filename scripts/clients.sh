#!/usr/bin/env bash
# Proves the command `peregrine` with programs that others have written: curl, wrk, ab, nginx and HAProxy in
# front of it, Chromium, and socat as a client that closes its side first.
#
#     scripts/clients.sh [SCREENSHOT]                  # default: bench/out/welcome.png
#     PEREGRINE_DRIVER=epoll scripts/clients.sh
#
# Installs what is missing (Debian packages), builds the server, and takes about a minute after that. All of it
# runs on loopback, in a scratch directory, and is gone afterwards. The last line counts; status 0 if none failed.
set -euo pipefail
clients=$(cd "$(dirname "$0")" && pwd)/clients
# shellcheck source=scripts/clients/common.sh
source "$clients/common.sh"
# shellcheck source=scripts/clients/curl.sh
source "$clients/curl.sh"
# shellcheck source=scripts/clients/load.sh
source "$clients/load.sh"
# shellcheck source=scripts/clients/proxies.sh
source "$clients/proxies.sh"
# shellcheck source=scripts/clients/browser.sh
source "$clients/browser.sh"

screenshot=$(realpath --canonicalize-missing "${1:-$root/bench/out/welcome.png}")
socket=$work/peregrine.sock

make_bodies() {
    head -c 2097152 /dev/urandom > "$work/2MiB"
    head -c 5242880 /dev/urandom > "$work/5MiB"
    head -c 31000000 /dev/zero > "$work/31MB" # more than the server takes
}

has_ipv6() {
    grep -q '^00000000000000000000000000000001 ' /proc/net/if_inet6 2> /dev/null
}

check_curl() {
    check_way 'curl, IPv4' "http://127.0.0.1:$port"
    if has_ipv6; then
        check_way 'curl, IPv6' "http://[::1]:$port"
    else
        echo 'skip curl, IPv6: this machine has no [::1]'
    fi
    check_way 'curl, Unix' http://localhost --unix-socket "$socket"
    check_directly curl "http://127.0.0.1:$port"
}

check_load() {
    local origin=http://127.0.0.1:$port
    check 'wrk: plaintext' wrk_run 1 "$origin/plaintext"
    check 'wrk: json' wrk_run 1 "$origin/json"
    check 'wrk: plaintext, 16 at once' wrk_run 16 "$origin/plaintext"
    check 'ab' ab_run "$origin/plaintext"
    check 'ab -k' ab_run "$origin/plaintext" -k
}

# Nothing in the log but what this machine lacks.
no_complaint() {
    local lacks='^warning: The backlog of '
    has_ipv6 || lacks+='|^warning: Failed to bind to http://\[::1\]:'
    is 'the log' '' "$(grep -E '^(warning|peregrine|thread)' "$work/peregrine.log" | grep -vE "$lacks")"
}

# Ends the server while one connection is idle and another one uploads.
check_end() {
    local upload idle
    origin=http://127.0.0.1:$port
    exec {idle}<> "/dev/tcp/127.0.0.1/$port"
    printf %s "$GET" >&"$idle"
    head -n 1 <&"$idle" > /dev/null
    launch "$work/upload.log" curl --disable --silent --show-error --max-time 20 --limit-rate 2M \
        --output "$work/body" --data-binary "@$work/5MiB" "$origin/echo"
    upload=$child
    sleep 1
    finish "$peregrine" TERM
    check 'SIGTERM: status 0' is 'the status' 0 "$ended"
    check 'SIGTERM: the socket file is gone' test ! -e "$socket"
    check 'SIGTERM: no complaint in the log' no_complaint
    wait "$upload" || true
    unset "children[$upload]"
    check 'SIGTERM: what had begun was answered' cmp "$work/5MiB" "$work/body"
    exec {idle}>&-
}

need curl curl wrk wrk ab apache2-utils nginx nginx haproxy haproxy chromium chromium socat socat
build
mkdir -p "$(dirname "$screenshot")"
make_bodies
start_peregrine "http://localhost:0;http://unix:$socket"
check_curl
check_half_close 'socat, TCP' "TCP:127.0.0.1:$port"
check_half_close 'socat, Unix' "UNIX-CONNECT:$socket"
check_load
check_nginx
check_haproxy
check_chromium "http://127.0.0.1:$port" "$screenshot"
check_end
summary

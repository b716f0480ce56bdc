# Load generators (wrk, ab) and a raw client that closes its side first (socat).
# To be sourced.
# shellcheck shell=bash

# wrk_run DEPTH URL: two seconds with 64 connections, DEPTH requests at once on each.
wrk_run() {
    local said
    said=$(CONNECTIONS=64 DEPTH=$1 wrk -t1 -c64 -d2s -s "$root/bench/load.lua" "$2")
    if [[ $said =~ 'Socket errors'|'Non-2xx' ]] || ! [[ $said =~ [1-9][0-9]*' requests in' ]]; then
        echo "$said"
        return 1
    fi
}

# ab_run URL [AB-OPTION...]: 5000 requests, 50 at a time; with -k all on kept connections.
ab_run() {
    local said url=$1
    shift
    said=$(ab -q -n 5000 -c 50 "$@" "$url")
    is 'complete requests' 5000 "$(ab_count Complete "$said")"
    is 'failed requests' 0 "$(ab_count Failed "$said")"
    is 'other statuses than 2xx' '' "$(ab_count Non-2xx "$said")"
    [ $# -eq 0 ] || has 'requests on kept connections' '^(49[5-9][0-9]|5000)$' "$(ab_count Keep-Alive "$said")"
}

ab_count() {
    sed -n "s/^$1 [a-z]*: *//p" <<< "$2"
}

# half_close ADDRESS: sends standard input, closes that side, and prints what comes back until the server
# closes too; an error if that takes the server more than a moment.
half_close() {
    timeout 10 socat -t 60 - "$1"
}

check_half_close() {
    check "$1: closes its side after a request" half_close_one "$2"
    check "$1: closes its side after three requests" half_close_three "$2"
    check "$1: closes its side after 2 MiB" half_close_large "$2"
    check "$1: closes its side within a request" half_close_torn "$2"
    check "$1: sends what is not HTTP" not_http "$2"
}

readonly GET=$'GET /plaintext HTTP/1.1\r\nHost: localhost\r\n\r\n'

half_close_one() {
    local said
    said=$(printf %s "$GET" | half_close "$1")
    has 'the answer' '^HTTP/1.1 200 OK.*Hello, World!$' "$said"
}

half_close_three() {
    local said
    said=$(printf %s "$GET$GET$GET" | half_close "$1")
    is 'the number of answers' 3 "$(grep -o 'HTTP/1.1 200 OK' <<< "$said" | wc -l)"
}

half_close_large() {
    {
        printf 'POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2097152\r\n\r\n'
        cat "$work/2MiB"
    } | half_close "$1" > "$work/answer"
    tail -c 2097152 "$work/answer" | cmp "$work/2MiB" -
}

half_close_torn() {
    local said
    said=$(printf 'GET /plaintext HTTP/1.1\r\nHost: loc' | half_close "$1")
    has 'the answer' '^(|HTTP/1.1 400 .*)$' "$said"
}

# The start is no record of TLS either: on an endpoint of plain HTTP that would get an alert, and a line in the log.
not_http() {
    local said
    said=$(printf '\x80\x2e\x01\x03\x01\x15 no HTTP\r\n\r\n' | half_close "$1")
    has 'the answer' '^HTTP/1.1 400 Bad Request' "$said"
}

# curl: what is checked on every way to the server, and what only directly.
# To be sourced.
# shellcheck shell=bash

# What the checks below go to: an origin, and the options that curl needs to get there.
origin=
via=()

http() {
    curl --disable --silent --show-error --max-time 20 "${via[@]}" "$@"
}

# request CURL-ARGUMENT...: leaves the status in `status`, the rest in the files `head` and `body`.
request() {
    status=$(http --dump-header "$work/head" --output "$work/body" --write-out '%{http_code}' "$@")
}

# field NAME: its value in the last head; proxies may change the case of the name.
field() {
    sed -n "s/^$1: \(.*\)\r\$/\1/Ip" "$work/head" | tail -n 1
}

# answer STATUS CONTENT-TYPE BODY: what the last request has to have brought.
answer() {
    is status "$1" "$status"
    is Content-Type "$2" "$(field Content-Type)"
    is Content-Length ${#3} "$(field Content-Length)"
    is body "$3" "$(cat "$work/body")"
}

# came_back FILE: the last request's answer is the file.
came_back() {
    is status 200 "$status"
    is Content-Length "$(wc -c < "$1")" "$(field Content-Length)"
    cmp "$1" "$work/body"
}

readonly TEXT='text/plain; charset=utf-8'
readonly JSON='application/json; charset=utf-8'

# --- On every way ---

# check_way NAME ORIGIN [CURL-OPTION...]
check_way() {
    local way=$1
    origin=$2
    via=("${@:3}")
    check "$way: welcome page" welcome_page
    check "$way: plaintext" plaintext
    check "$way: json" json
    check "$way: path parameter" path_parameter
    check "$way: HEAD" head_request
    check "$way: OPTIONS" options_request
    check "$way: 404" not_found
    check "$way: 405 with Allow" method_not_allowed
    check "$way: echo" echo_small
    check "$way: echo of nothing" echo_nothing
    check "$way: echo of 2 MiB after 100 Continue" echo_after_continue
    check "$way: echo of chunks" echo_chunked "$origin/echo" "$work/2MiB"
    check "$way: an upload that is streamed, after 100 Continue" upload_after_continue
    check "$way: an upload of chunks that is streamed" upload_chunked
    check "$way: a download in chunks" download_chunked
    check "$way: a download for HTTP/1.0" download_for_http_1_0
    check "$way: one connection for all requests" one_connection
    check "$way: many connections at once" many_connections
}

welcome_page() {
    request "$origin/"
    is status 200 "$status"
    is Content-Type 'text/html; charset=utf-8' "$(field Content-Type)"
    cmp "$root/server/src/welcome.html" "$work/body"
}

plaintext() {
    request "$origin/plaintext"
    answer 200 "$TEXT" 'Hello, World!'
    is Server peregrine "$(field Server)"
    has Date '^[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT$' "$(field Date)"
    local age=$(($(date +%s) - $(date --date "$(field Date)" +%s)))
    has 'the age of Date' '^-?[0-2]$' "$age"
}

json() {
    request "$origin/json"
    answer 200 "$JSON" '{"message":"Hello, World!"}'
}

path_parameter() {
    request "$origin/users/42"
    answer 200 "$TEXT" 'User 42'
    request "$origin/users/J%C3%BCrgen?page=2"
    is status 200 "$status"
    is body 'User Jürgen' "$(cat "$work/body")"
}

head_request() {
    request --head "$origin/plaintext"
    is status 200 "$status"
    is Content-Length 13 "$(field Content-Length)"
}

options_request() {
    request --request OPTIONS "$origin/plaintext"
    is status 204 "$status"
    is Allow 'GET, HEAD, OPTIONS' "$(field Allow)"
}

not_found() {
    request "$origin/nothing/here"
    is status 404 "$status"
}

method_not_allowed() {
    request --data x "$origin/plaintext"
    is status 405 "$status"
    is Allow 'GET, HEAD, OPTIONS' "$(field Allow)"
}

# As the welcome page says it.
echo_small() {
    request --json '{"hello":"falcon"}' "$origin/echo"
    answer 200 application/json '{"hello":"falcon"}'
}

echo_nothing() {
    request --request POST --data '' "$origin/echo"
    is status 200 "$status"
    is Content-Length 0 "$(field Content-Length)"
}

# curl waits with bodies above 1 MiB.
echo_after_continue() {
    request --data-binary "@$work/2MiB" "$origin/echo"
    has 'the first line' '^HTTP/1.1 100 Continue' "$(head -n 1 "$work/head")"
    came_back "$work/2MiB"
}

# echo_chunked URL FILE
echo_chunked() {
    request --request POST --header 'Transfer-Encoding: chunked' --upload-file - "$1" < "$2"
    came_back "$2"
}

upload_after_continue() {
    request --data-binary "@$work/2MiB" "$origin/upload"
    has 'the first line' '^HTTP/1.1 100 Continue' "$(head -n 1 "$work/head")"
    answer 200 "$TEXT" '2097152 bytes'
}

upload_chunked() {
    request --request POST --header 'Transfer-Encoding: chunked' --upload-file - "$origin/upload" < "$work/2MiB"
    answer 200 "$TEXT" '2097152 bytes'
}

download_chunked() {
    request "$origin/download/1000000"
    is status 200 "$status"
    is Transfer-Encoding chunked "$(field Transfer-Encoding)"
    is bytes 1000000 "$(wc -c < "$work/body")"
}

download_for_http_1_0() {
    request --http1.0 "$origin/download/100000"
    is status 200 "$status"
    is Transfer-Encoding '' "$(field Transfer-Encoding)"
    is bytes 100000 "$(wc -c < "$work/body")"
}

one_connection() {
    local connects
    connects=$(http --write-out '%{num_connects}\n' --output "$work/body" "$origin/plaintext" \
        --output "$work/body" "$origin/json" --output "$work/body" "$origin/nothing" \
        --output "$work/body" "$origin/users/42")
    is 'new connections' '1 0 0 0' "$(xargs <<< "$connects")"
}

many_connections() {
    local statuses
    statuses=$(http --parallel --parallel-immediate --parallel-max 100 --output /dev/null \
        --write-out '%{http_code}\n' "$origin/users/[1-200]" 2> /dev/null | sort | uniq -c)
    is 'count and status' '200 200' "$(xargs <<< "$statuses")"
}

# --- Directly ---

check_directly() {
    local way=$1
    origin=$2
    via=()
    check "$way: HTTP/1.0" http10
    check "$way: HTTP/1.0 kept alive" http10_kept_alive
    check "$way: dot segments" dot_segments
    check "$way: OPTIONS for the server" options_for_server
    check "$way: an upgrade to HTTP/2 is not taken" no_upgrade
    check "$way: fields of 30 kB" fields_within_limit
    check "$way: 431 for fields of 40 kB" fields_too_large
    check "$way: 414 for a long URL" url_too_long
    check "$way: 413 before the body is sent" body_announced_too_large
    check "$way: 413 while the body is sent" body_sent_too_large
    check "$way: 413 while chunks are sent" chunks_too_large
}

http10() {
    request --http1.0 "$origin/users/42"
    answer 200 "$TEXT" 'User 42'
    is Connection close "$(field Connection)"
}

http10_kept_alive() {
    local connects
    connects=$(http --http1.0 --header 'Connection: keep-alive' --write-out '%{num_connects}\n' \
        --output "$work/body" "$origin/plaintext" --output "$work/body" "$origin/json")
    is 'new connections' '1 0' "$(xargs <<< "$connects")"
}

dot_segments() {
    local path
    for path in /a/../plaintext /../../plaintext /./plaintext /a/b/%2e%2E/../plaintext; do
        request --path-as-is "$origin$path"
        answer 200 "$TEXT" 'Hello, World!'
    done
    request --path-as-is "$origin/users/../../etc/passwd"
    is status 404 "$status"
}

options_for_server() {
    request --request OPTIONS --request-target '*' "$origin"
    is status 204 "$status"
    has Allow 'GET.*POST' "$(field Allow)"
}

no_upgrade() {
    request --http2 "$origin/plaintext"
    answer 200 "$TEXT" 'Hello, World!'
    has 'the first line' '^HTTP/1.1 200 OK' "$(head -n 1 "$work/head")"
}

# letters COUNT
letters() {
    head -c "$1" /dev/zero | tr '\0' a
}

fields_within_limit() {
    request --header "X-Large: $(letters 30000)" "$origin/plaintext"
    answer 200 "$TEXT" 'Hello, World!'
}

fields_too_large() {
    request --header "X-Large: $(letters 40000)" "$origin/plaintext"
    refused 431
}

url_too_long() {
    request "$origin/$(letters 9000)"
    refused 414
}

refused() {
    is status "$1" "$status"
    is Connection close "$(field Connection)"
    is Content-Length 0 "$(field Content-Length)"
}

body_announced_too_large() {
    local sent
    sent=$(http --data-binary "@$work/31MB" --dump-header "$work/head" --output "$work/body" \
        --write-out '%{http_code} %{size_upload}' "$origin/echo")
    is 'status and bytes sent' '413 0' "$sent"
    has 'the first line' '^HTTP/1.1 413 ' "$(head -n 1 "$work/head")"
}

body_sent_too_large() {
    request --header Expect: --data-binary "@$work/31MB" "$origin/echo"
    refused 413
}

chunks_too_large() {
    request --header Expect: --request POST --upload-file - "$origin/echo" < "$work/31MB"
    refused 413
}

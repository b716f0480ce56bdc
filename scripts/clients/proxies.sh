# nginx and HAProxy in front of the server.
# To be sourced.
# shellcheck shell=bash

# fill TEMPLATE FILE: puts addresses into a configuration.
fill() {
    sed -e "s|@PEREGRINE_PORT@|$port|" -e "s|@PEREGRINE_SOCKET@|$socket|" \
        -e "s|@TCP_PORT@|$tcp_port|" -e "s|@UNIX_PORT@|$unix_port|" \
        -e "s|@STATISTICS_SOCKET@|$work/statistics.sock|" "$root/scripts/clients/$1" > "$2"
}

accepts() {
    (exec 3<> "/dev/tcp/127.0.0.1/$1")
}

# --- nginx ---

check_nginx() {
    local tcp_port unix_port nginx
    tcp_port=$(free_port 20000)
    unix_port=$(free_port 21000)
    mkdir "$work/nginx"
    fill nginx.conf "$work/nginx/nginx.conf"
    launch "$work/nginx.log" nginx -p "$work/nginx" -e error.log -c nginx.conf
    nginx=$child
    await nginx accepts "$unix_port" || cat "$work/nginx.log" "$work/nginx/error.log" >&2

    check_way 'nginx, TCP' "http://127.0.0.1:$tcp_port"
    check_way 'nginx, Unix' "http://127.0.0.1:$unix_port"
    check 'nginx, HTTP/1.0: plaintext' nginx_http10
    check 'nginx: 5 MiB buffered' echo_length "$origin/echo" "$work/5MiB"
    check 'nginx: 5 MiB in chunks buffered' echo_chunked "$origin/echo" "$work/5MiB"
    origin=http://127.0.0.1:$tcp_port/unbuffered
    check 'nginx: 5 MiB unbuffered' echo_length "$origin/echo" "$work/5MiB"
    check 'nginx: 5 MiB in chunks unbuffered' echo_chunked "$origin/echo" "$work/5MiB"
    check 'nginx: 5 MiB to HTTP/1.0' echo_length "http://127.0.0.1:$tcp_port/http10/echo" "$work/5MiB"
    check 'nginx: ab' ab_run "http://127.0.0.1:$tcp_port/plaintext"
    check 'nginx: ab -k' ab_run "http://127.0.0.1:$tcp_port/plaintext" -k
    check 'nginx, Unix: ab -k' ab_run "http://127.0.0.1:$unix_port/plaintext" -k
    check 'nginx: wrk' wrk_run 1 "http://127.0.0.1:$tcp_port/json"
    check 'nginx: no error in its log' is 'the log' '' "$(cat "$work/nginx/error.log")"
    finish "$nginx" TERM
}

# echo_length URL FILE
echo_length() {
    request --data-binary "@$2" "$1"
    came_back "$2"
}

nginx_http10() {
    request "http://127.0.0.1:$tcp_port/http10/plaintext"
    answer 200 "$TEXT" 'Hello, World!'
}

# --- HAProxy ---

check_haproxy() {
    local tcp_port unix_port haproxy
    tcp_port=$(free_port 22000)
    unix_port=$(free_port 23000)
    fill haproxy.cfg "$work/haproxy.cfg"
    launch "$work/haproxy.log" haproxy -db -f "$work/haproxy.cfg"
    haproxy=$child
    await HAProxy accepts "$unix_port" || cat "$work/haproxy.log" >&2

    check 'HAProxy, TCP: health check' health tcp
    check 'HAProxy, Unix: health check' health unix
    check_way 'HAProxy, TCP' "http://127.0.0.1:$tcp_port"
    check_way 'HAProxy, Unix' "http://127.0.0.1:$unix_port"
    check 'HAProxy: 5 MiB' echo_length "$origin/echo" "$work/5MiB"
    check 'HAProxy: 5 MiB in chunks' echo_chunked "$origin/echo" "$work/5MiB"
    check 'HAProxy: ab' ab_run "http://127.0.0.1:$tcp_port/plaintext"
    check 'HAProxy: ab -k' ab_run "http://127.0.0.1:$tcp_port/plaintext" -k
    check 'HAProxy, Unix: ab -k' ab_run "http://127.0.0.1:$unix_port/plaintext" -k
    check 'HAProxy, TCP: reuses connections, sees no error' contented tcp
    check 'HAProxy, Unix: reuses connections, sees no error' contented unix
    finish "$haproxy" TERM
}

# statistic PROXY COLUMN: what HAProxy says of its server.
statistic() {
    curl --disable --silent --show-error --unix-socket "$work/statistics.sock" 'http://localhost/;csv' |
        awk -F , -v proxy="$1" -v column="$2" '
            NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i }
            $1 == proxy && $2 == "peregrine" { print $at[column] }'
}

# Up by a check that was answered: HAProxy takes servers to be up until it knows.
health() {
    await 'a health check' checked "$1"
    is 'the status' UP "$(statistic "$1" status)"
    is 'the answer' 200 "$(statistic "$1" check_code)"
}

checked() {
    [ "$(statistic "$1" check_status)" = L7OK ]
}

contented() {
    local errors
    for errors in econ eresp wretr chkfail chkdown; do
        is "$errors" 0 "$(statistic "$1" "$errors")"
    done
    has 'requests on reused connections' '^[1-9][0-9]{3,}$' "$(statistic "$1" reuse)"
}

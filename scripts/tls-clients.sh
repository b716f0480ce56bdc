#!/usr/bin/env bash
# Proves a server that speaks TLS with clients that others have written: curl, OpenSSL, GnuTLS, Python, Node and Java.
#
#     scripts/tls-clients.sh https://localhost:5001 [CA.pem]
#
# Asks for /plaintext unless the URL names a path; a server of files will do. With a file of authorities every client
# checks the certificate, without one none does. Installs what is missing (Debian packages) and takes a quarter of a
# minute. Each check is a line; the last line counts; status 0 if none failed.
set -euo pipefail
clients=$(cd "$(dirname "$0")" && pwd)/clients
# shellcheck source=scripts/clients/common.sh
source "$clients/common.sh"

if [ $# -lt 1 ] || [ $# -gt 2 ] || ! [[ $1 =~ ^https://([^/:]+):([0-9]+)(/.*)?$ ]]; then
    sed -n '4s/^#  *//p' "$0" >&2
    exit 2
fi
host=${BASH_REMATCH[1]}
port=${BASH_REMATCH[2]}
path=${BASH_REMATCH[3]:-/}
[ "$path" != / ] || path=/plaintext
url=https://$host:$port$path
ca=()
[ $# -lt 2 ] || ca=("$(realpath "$2")")

# --- curl ---

if [ ${#ca[@]} -eq 0 ]; then curl_trust=(--insecure); else curl_trust=(--cacert "${ca[0]}"); fi

get() {
    curl --disable --silent --show-error --max-time 20 "${curl_trust[@]}" "$@"
}

# curl_gets VERSION [OPTION...]: only this version of TLS; HTTP/2 is offered unless an option says otherwise.
curl_gets() {
    local version=$1 answer
    shift
    answer=$(get "--tlsv$version" --tls-max "$version" --output "$work/body" \
        --write-out '%{http_code} %{http_version}' "$@" "$url")
    has 'status and version of HTTP' '^200 1(\.[01])?$' "$answer"
    [ "$path" != /plaintext ] || is body 'Hello, World!' "$(cat "$work/body")"
}

# A server that keeps no connection says so, and is not asked for more.
curl_keeps() {
    local connects
    get --dump-header "$work/head" --output /dev/null "$url"
    if ! grep -q '^HTTP/1.1 ' "$work/head" || grep -qi '^Connection: close' "$work/head"; then
        return 0
    fi
    connects=$(get --write-out '%{num_connects} ' --output /dev/null "$url" --output /dev/null "$url" \
        --output /dev/null "$url")
    is 'new connections' '1 0 0' "$(xargs <<< "$connects")"
}

curl_many() {
    local statuses
    statuses=$(get --parallel --parallel-immediate --parallel-max 50 --output /dev/null \
        --write-out '%{http_code}\n' "$url?[1-200]" 2> /dev/null | sort | uniq -c)
    is 'count and status' '200 200' "$(xargs <<< "$statuses")"
}

# --- OpenSSL ---

openssl_trust=()
if [ ${#ca[@]} -gt 0 ]; then
    openssl_trust=(-CAfile "${ca[0]}" -verify_return_error)
    if [[ $host =~ ^[0-9.]+$ ]]; then openssl_trust+=(-verify_ip "$host"); else openssl_trust+=(-verify_hostname "$host"); fi
fi

# talk LINE... -- OPTION...: sends the lines, which are commands of s_client, each in a write of its own, then a request
# that ends the connection. Leaves all that was seen in the file `seen`.
talk() {
    local line lines=() mode=(-ign_eof)
    while [ "$1" != -- ]; do
        # What ignores the end of the input ignores commands too.
        mode=()
        lines+=("$1")
        shift
    done
    shift
    # shellcheck disable=SC2094 # it is looked at while it grows
    {
        for line in "${lines[@]}"; do
            sleep 0.3
            printf '%s\n' "$line"
        done
        [ ${#lines[@]} -eq 0 ] || sleep 0.3
        printf 'GET %s HTTP/1.1\r\nHost: %s\r\nX-Long: %s\r\nConnection: close\r\n\r\n' \
            "$path" "$host:$port" "$(head -c 3000 /dev/zero | tr '\0' a)"
        # The end of the input would be the end of the connection.
        [ ${#lines[@]} -eq 0 ] || await 'close_notify' grep -q '^<<< .*close_notify' "$work/seen" || true
    } | timeout 20 openssl s_client -connect "$host:$port" -servername "$host" -msg "${mode[@]}" \
        "${openssl_trust[@]}" "$@" > "$work/seen" 2>&1 || { tail -n 5 "$work/seen"; return 1; }
}

# seen WHAT PATTERN: a line that has the pattern.
seen() {
    grep -qE -- "$2" "$work/seen" || { echo "there is no $1"; tail -n 5 "$work/seen"; return 1; }
}

answered() {
    seen 'answer of status 200' '^HTTP/1\.[01] 200 '
    [ "$path" != /plaintext ] || seen body 'Hello, World!'
    seen 'close_notify of the server' '^<<< .*Alert.*close_notify'
}

# openssl_gets VERSION [OPTION...]
openssl_gets() {
    local version=$1
    shift
    talk -- "-tls${version/./_}" "$@"
    answered
    seen "session of TLS $version" "^ *(New|Reused), TLSv1\.[0-9], Cipher|Protocol *: TLSv$version"
}

# K asks for the server's new key too, k does not.
openssl_updates_keys() {
    talk K k K -- -tls1_3
    is 'keys that the client changed' 3 "$(grep -c '^>>> .*KeyUpdate' "$work/seen")"
    seen 'new key of the server' '^<<< .*KeyUpdate'
    answered
}

# openssl_resumes VERSION
openssl_resumes() {
    openssl_gets "$1" -sess_out "$work/session"
    seen 'full handshake' '^New, '
    openssl_gets "$1" -sess_in "$work/session"
    seen 'resumed handshake' '^Reused, '
}

# Level 0, for else the client itself would not want the old version.
openssl_refused() {
    ! talk -- "$1" -cipher ALL:@SECLEVEL=0 2> /dev/null > /dev/null || { echo 'it was accepted'; return 1; }
    seen 'fatal alert' '^<<< .*Alert.*fatal'
}

check_openssl() {
    local version suite group
    for version in 1.2 1.3; do
        check "openssl: TLS $version, close_notify" openssl_gets $version
        check "openssl: TLS $version, records of 512 bytes" openssl_gets $version -max_send_frag 512
        check "openssl: TLS $version, resumed" openssl_resumes $version
    done
    for group in X25519 P-256 P-384; do
        check "openssl: TLS 1.3, $group" openssl_gets 1.3 -groups $group
    done
    # Before TLS 1.3 the curve of the certificate must be among them.
    check "openssl: TLS 1.2, P-256 alone" openssl_gets 1.2 -groups P-256
    for suite in TLS_AES_128_GCM_SHA256 TLS_AES_256_GCM_SHA384 TLS_CHACHA20_POLY1305_SHA256; do
        check "openssl: $suite" openssl_gets 1.3 -ciphersuites $suite
    done
    for suite in AES128-GCM-SHA256 AES256-GCM-SHA384 CHACHA20-POLY1305; do
        check "openssl: TLS 1.2, ECDHE, $suite" openssl_gets 1.2 -cipher "ECDHE-ECDSA-$suite:ECDHE-RSA-$suite"
    done
    check 'openssl: TLS 1.3, a group that few have first' openssl_gets 1.3 -groups X448:P-521:P-256
    check 'openssl: TLS 1.3, key updates' openssl_updates_keys
    check 'openssl: TLS 1.1 is refused' openssl_refused -tls1_1
    check 'openssl: TLS 1.0 is refused' openssl_refused -tls1
}

# --- GnuTLS ---

# gnutls_gets VERSION SECONDS OPTION...: asks on a connection, or with --resume on a second one, and says close_notify
# after so many seconds.
gnutls_gets() {
    local version=$1 seconds=$2 trust=(--insecure)
    shift 2
    [ ${#ca[@]} -eq 0 ] || trust=(--x509cafile "${ca[0]}")
    {
        printf 'GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n' "$path" "$host:$port"
        sleep "$seconds"
    } | timeout 20 gnutls-cli "${trust[@]}" --port "$port" --priority "NORMAL:-VERS-ALL:+VERS-TLS$version" \
            --alpn http/1.1 "$@" "$host" > "$work/seen" 2>&1 || { tail -n 5 "$work/seen"; return 1; }
    seen 'answer of status 200' '^HTTP/1\.[01] 200 '
}

gnutls_resumes() {
    gnutls_gets "$1" 1 --resume --waitresumption
    seen 'resumed session' 'This is a resumed session'
}

# --- All ---

need curl curl openssl openssl gnutls-cli gnutls-bin python3 python3 node nodejs javac default-jdk-headless

for version in 1.2 1.3; do
    check "curl: TLS $version" curl_gets $version
    check "curl: TLS $version, offers HTTP/1.1 alone" curl_gets $version --http1.1
    check "curl: TLS $version, no ALPN" curl_gets $version --no-alpn
done
check 'curl: one connection for all requests' curl_keeps
check 'curl: many connections at once' curl_many
check_openssl
for version in 1.2 1.3; do
    check "gnutls: TLS $version" gnutls_gets $version 1
    check "gnutls: TLS $version, resumed" gnutls_resumes $version
    check "python: TLS $version, urllib" python3 "$clients/tls/client.py" urllib "$url" $version "${ca[@]}"
    check "python: TLS $version, says close_notify first" \
        python3 "$clients/tls/client.py" goodbye "$url" $version "${ca[@]}"
    check "python: TLS $version, many connections at once" \
        python3 "$clients/tls/client.py" many "$url" $version "${ca[@]}"
    check "node: TLS $version, resumed" node "$clients/tls/client.mjs" "$url" TLSv$version "${ca[@]}"
    check "java: TLS $version, 8 requests at once" timeout 60 java "$clients/tls/Client.java" "$url" TLSv$version "${ca[@]}"
done
# An end of what the client sends is none of what the server sends, since TLS 1.3.
check 'gnutls: TLS 1.3, says close_notify right after the request' gnutls_gets 1.3 0
summary

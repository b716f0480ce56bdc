#!/usr/bin/env bash
# Replaces the certificate of a server under load each second, and fails if one request or one handshake does.
#
#     scripts/tls-reload.sh [SECONDS [COMMAND]]       # default: 300, and the command that is built first
#
# 64 connections of wrk stay open; two loops of curl, one with each version of TLS, come anew for each request and check
# the certificate. In the first half of the time a link is pointed at other files, in the second the files themselves are
# written over, the certificate before its key. Installs what is missing (Debian packages).
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/clients/machine.sh
source scripts/clients/machine.sh
work=$(mktemp -d)
children=()

# shellcheck disable=SC2317  # the trap calls it
clean_up() {
    local pid
    for pid in "${children[@]}"; do
        kill "$pid" 2> /dev/null || true
    done
    wait
    allow_services
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if [ $# -gt 2 ] || ! [[ ${1:-300} =~ ^[1-9][0-9]*$ ]]; then
    sed -n '4s/^#  *\(.*[^ ]\)  *#.*/\1/p' "$0" >&2
    exit 2
fi
seconds=${1:-300}
command=${2:-}
unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY

need wrk wrk openssl openssl curl curl
if [ -z "$command" ]; then
    cargo build --release --locked --package peregrine-server
    command=${CARGO_TARGET_DIR:-target}/release/peregrine
fi

# --- Certificates: one authority, and enough below it that each is another than the last ---

readonly PAIRS=10
key=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes)
openssl req -x509 "${key[@]}" -days 90 -subj '/CN=authority' -keyout "$work/ca.key" -out "$work/ca.pem" 2> /dev/null
printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\n' > "$work/names"
for ((number = 0; number < PAIRS; number++)); do
    mkdir "$work/$number"
    openssl req "${key[@]}" -subj "/CN=pair $number" -keyout "$work/$number/key.pem" -out "$work/request" 2> /dev/null
    openssl x509 -req -in "$work/request" -CA "$work/ca.pem" -CAkey "$work/ca.key" -days 30 \
        -set_serial "$((1000 + number))" -extfile "$work/names" -out "$work/$number/cert.pem" 2> /dev/null
done
ln -s "$work/0" "$work/live"

# --- The server, and its clients ---

"$command" --urls https://127.0.0.1:0 --tls-cert "$work/live/cert.pem" --tls-key "$work/live/key.pem" \
    > "$work/out" 2> "$work/log" &
server=$!
children+=("$server")
url=
for ((tries = 0; tries < 100; tries++)); do
    url=$(sed -n 's/^Now listening on: //p' "$work/out")
    [ -z "$url" ] || break
    sleep 0.1
done
if [ -z "$url" ]; then
    cat "$work/log" >&2
    exit 1
fi

# come_anew VERSION: a connection for each request, until the file `over` is there. A line for each in its own file.
come_anew() {
    while [ ! -e "$work/over" ]; do
        curl --disable --silent --show-error --max-time 10 --cacert "$work/ca.pem" "--tlsv$1" --tls-max "$1" \
            --output /dev/null --write-out '%{http_code} %{ssl_verify_result}\n%{certs}' "$url/plaintext" 2>&1 |
            grep -E '^([0-9]{3} |curl|Subject:)' >> "$work/anew-$1" || echo 'nothing' >> "$work/anew-$1"
    done
}

come_anew 1.3 &
children+=($!)
anew=($!)
come_anew 1.2 &
children+=($!)
anew+=($!)
wrk --threads 1 --connections 64 --duration "${seconds}s" --timeout 10s "$url/plaintext" > "$work/wrk" 2>&1 &
load=$!
children+=("$load")

begin=$SECONDS
number=0
replaced=0
while kill -0 "$load" 2> /dev/null; do
    number=$(((number + 1) % PAIRS))
    if [ $((SECONDS - begin)) -lt $((seconds / 2)) ]; then
        ln -s "$work/$number" "$work/next"
        mv --no-target-directory "$work/next" "$work/live"
    else
        # What the link leads to is written over with what another folder has.
        if [ ! -d "$work/own" ]; then
            cp -r "$work/live/" "$work/own"
            ln -s "$work/own" "$work/next"
            mv --no-target-directory "$work/next" "$work/live"
        fi
        cat "$work/$number/cert.pem" > "$work/live/cert.pem"
        cat "$work/$number/key.pem" > "$work/live/key.pem"
    fi
    replaced=$((replaced + 1))
    sleep 1
done
wait "$load" || true
touch "$work/over"
wait "${anew[@]}"

# --- What has become of it ---

failed=0
fault() {
    echo "FAILED: $*"
    failed=1
}

requests=$(sed -n 's/^ *\([0-9]*\) requests in .*/\1/p' "$work/wrk")
[ "${requests:-0}" -gt 0 ] || fault "wrk has had no answer: $(cat "$work/wrk")"
! grep -E 'Socket errors|Non-2xx' "$work/wrk" || fault 'requests of wrk'
for version in 1.3 1.2; do
    good=$(grep -c '^200 0$' "$work/anew-$version" || true)
    bad=$(grep -Evc '^(200 0$|Subject:)' "$work/anew-$version" || true)
    kinds=$(grep '^Subject:' "$work/anew-$version" | grep 'pair' | sort -u | wc -l)
    echo "TLS $version: $good new connections have seen $kinds certificates, $bad have failed"
    [ "$bad" -eq 0 ] || fault "$(grep -Ev '^(200 0$|Subject:)' "$work/anew-$version" | sort | uniq -c | head -5)"
    [ "$good" -gt 0 ] || fault "no new connection with TLS $version"
    [ "$kinds" -gt 1 ] || fault "TLS $version has seen no change"
done
kill -0 "$server" || fault 'the server has ended'
taken=$(grep -c ' replaces ' "$work/log" || true)
echo "$requests requests on open connections; the certificate was replaced $replaced times, which was told $taken times"
[ "$taken" -gt 0 ] || fault "nothing was told: $(tail -n 5 "$work/log")"
exit "$failed"

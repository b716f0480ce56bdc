#!/usr/bin/env bash
# Compares servers over TLS: small answers, handshakes and downloads (see bench/README.md, TLS).
#
#     scripts/tls-bench.sh [--without NAME]... [--only plaintext|handshakes|download]... [--suites NAME,NAME...]
#                          [--rounds N] [--seconds N] [--out DIRECTORY]
#
# The servers are peregrine, hyper (with rustls) and nginx (with OpenSSL), and ratios are taken to the first that takes
# part. All of them have the same new certificate, ECDSA on P-256, and the same suites, AES-128-GCM unless --suites names
# others as IANA does. Installs what is missing (Debian packages), builds all servers, and takes ten minutes with three
# servers. The tables are left below bench/out/tls unless --out says otherwise.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/clients/machine.sh
source scripts/clients/machine.sh
work=$(mktemp -d)
trap 'allow_services; rm -rf "$work"' EXIT

usage() {
    sed -n '4,5s/^#  *//p' "$0" >&2
    exit 2
}

servers=(peregrine hyper nginx)
parts=()
suites=TLS_AES_128_GCM_SHA256,TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
rounds=6
seconds=3
out=bench/out/tls
while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || usage
    case $1 in
        --without)
            kept=()
            for server in "${servers[@]}"; do
                [ "$server" = "$2" ] || kept+=("$server")
            done
            [ ${#kept[@]} -lt ${#servers[@]} ] || usage
            servers=("${kept[@]}")
            ;;
        --only)
            [[ $2 =~ ^(plaintext|handshakes|download)$ ]] || usage
            parts+=("$2")
            ;;
        --suites) suites=$2 ;;
        --rounds) rounds=$2 ;;
        --seconds) seconds=$2 ;;
        --out) out=$2 ;;
        *) usage ;;
    esac
    shift 2
done
[ ${#servers[@]} -gt 0 ] || usage
[ ${#parts[@]} -gt 0 ] || parts=(plaintext handshakes download)

need wrk wrk openssl openssl

# A build for each, which keeps features that one package turns on out of another.
target=${CARGO_TARGET_DIR:-target}
[[ " ${servers[*]} " != *' peregrine '* ]] || cargo build --release --locked --package peregrine-server
cargo build --release --locked --package peregrine-bench --bins
[[ " ${servers[*]} " != *' hyper '* ]] ||
    cargo build --release --locked --manifest-path bench/peers/Cargo.toml --target-dir bench/peers/target \
        --package hyper-peer

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 90 -subj /CN=localhost \
    -addext 'subjectAltName=DNS:localhost,IP:127.0.0.1' -keyout "$work/key.pem" -out "$work/cert.pem" 2> /dev/null

# command_of SERVER: as compare and handshakes take it.
command_of() {
    local tls="--tls-cert $work/cert.pem --tls-key $work/key.pem"
    case $1 in
        peregrine)
            tls+=" --tls-cipher-suites $suites"
            echo "$target/release/peregrine --urls https://127.0.0.1:0 --cpus {cpu} $tls"
            ;;
        hyper) echo "bench/peers/target/release/hyper-peer --listen {listen} $tls --tls-suites $suites" ;;
        nginx) echo "scripts/nginx-peer.sh --listen {listen} --cpu {cpu} $tls --tls-suites $suites" ;;
    esac
}

chosen=()
for server in "${servers[@]}"; do
    chosen+=(--server "$server=$(command_of "$server")")
done
common=("${chosen[@]}" --baseline "${servers[0]}" --rounds "$rounds" --seconds "$seconds")

# Every connection costs a descriptor on both ends.
ulimit -n "$(ulimit -H -n)"

# over_wrk NAME OPTION...: what compare loads.
over_wrk() {
    local name=$1
    shift
    "$target/release/compare" --servers '' "${common[@]}" --depths 1 "$@" --out "$out/$name.md" --json "$out/$name.jsonl"
}

# handshakes VERSION
handshakes() {
    local name=handshakes-$1
    "$target/release/handshakes" "${common[@]}" --version "$1" --out "$out/$name.md" --json "$out/$name.jsonl"
}

for part in "${parts[@]}"; do
    case $part in
        plaintext) over_wrk plaintext --connections 64,256 ;;
        handshakes)
            handshakes 1.3
            handshakes 1.2
            ;;
        # Of 10 MiB each: divide by 10,485,760 for the cost of a byte.
        download) over_wrk download --path /download --connections 8 ;;
    esac
done

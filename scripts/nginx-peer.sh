#!/usr/bin/env bash
# nginx as a server to compare with: one process that serves, in the foreground.
#
#     scripts/nginx-peer.sh --listen 127.0.0.1:PORT [--cpu N] [--tls-cert FILE --tls-key FILE] [--tls-suites NAME,NAME...]
#
#     target/release/compare --servers '' --server 'nginx=scripts/nginx-peer.sh --listen {listen} --cpu {cpu}'
#
# Port 0 takes a free one. `/plaintext` is answered from the configuration and `/download` from a file of 10 MiB. With a
# certificate both are served over TLS alone, 1.2 and 1.3, with tickets; suites go by IANA's names, and without any
# OpenSSL's own choice stands. Prints `Now listening on: URL` once it does. This process becomes nginx: whoever started
# it measures and ends nginx itself. Installs Debian's package if there is none, and leaves the file and nginx's log
# below bench/out/nginx.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=scripts/clients/machine.sh
source "$root/scripts/clients/machine.sh"
trap allow_services EXIT

fail() {
    printf 'nginx-peer.sh: %s\n' "$*" >&2
    exit 1
}

usage() {
    sed -n '4s/^#  *//p' "$0" >&2
    exit 2
}

listen='' cpu='' certificate='' key='' suites=''
while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || usage
    case $1 in
        --listen) listen=$2 ;;
        --cpu) cpu=$2 ;;
        --tls-cert) certificate=$(realpath "$2") ;;
        --tls-key) key=$(realpath "$2") ;;
        --tls-suites) suites=$2 ;;
        *) usage ;;
    esac
    shift 2
done
[[ $listen =~ ^127\.0\.0\.1:([0-9]+)$ ]] || usage
[ -n "$certificate" ] || [ -z "$suites" ] || usage
[ "${certificate:+with}" = "${key:+with}" ] || usage
port=${BASH_REMATCH[1]}

# Debian keeps nginx where only root's PATH leads to.
PATH=$PATH:/usr/sbin
need nginx nginx openssl openssl >&2
[ "$port" != 0 ] || port=$(free_port 24000)
directory=$root/bench/out/nginx
configuration=$directory/$port.conf
mkdir -p "$directory/files"
if [ ! -e "$directory/files/download" ]; then
    # A file of its own first: another one of these may be starting.
    made=$(mktemp "$directory/files/XXXXXX")
    head -c 10485760 /dev/zero | tr '\0' x > "$made"
    chmod 644 "$made"
    mv "$made" "$directory/files/download"
fi

# OpenSSL has two lists, and names of its own for the suites before TLS 1.3.
suite_lines() {
    local name known new=() old=()
    for name in ${suites//,/ }; do
        known=$(openssl ciphers -convert "$name")
        known=${known##*: }
        [ "$known" != '(NONE)' ] || fail "OpenSSL does not know $name"
        if [[ $known == TLS_* ]]; then new+=("$known"); else old+=("$known"); fi
    done
    [ ${#new[@]} -eq 0 ] || echo "ssl_conf_command Ciphersuites $(IFS=: && echo "${new[*]}");"
    [ ${#old[@]} -eq 0 ] || echo "ssl_ciphers $(IFS=: && echo "${old[*]}");"
}

tls_lines() {
    [ -n "$certificate" ] || return 0
    # A buffer of a whole record: anything smaller costs more for each byte.
    cat << END
ssl_certificate "$certificate";
ssl_certificate_key "$key";
ssl_protocols TLSv1.2 TLSv1.3;
ssl_session_tickets on;
ssl_buffer_size 16k;
END
    suite_lines
}

scheme=http
[ -z "$certificate" ] || scheme=https
cat > "$configuration" << END
daemon off;
master_process off;
pid nginx.pid;
error_log error.log error;
worker_rlimit_nofile 65536;

events {
    worker_connections 8192;
}

http {
    access_log off;
    client_body_temp_path temporary;
    proxy_temp_path temporary;
    fastcgi_temp_path temporary;
    uwsgi_temp_path temporary;
    scgi_temp_path temporary;
    default_type 'text/plain; charset=utf-8';
    sendfile on;
    tcp_nodelay on;
    open_file_cache max=16;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
    $(tls_lines)

    server {
        listen 127.0.0.1:$port $([ $scheme = http ] || echo ssl) backlog=4096;
        root files;

        location = /plaintext {
            return 200 'Hello, World!';
        }
    }
}
END

# Detached twice, so that nginx has no child to wait for.
announce() {
    local try
    for try in {1..100}; do
        if (exec 3<> "/dev/tcp/127.0.0.1/$port") 2> /dev/null; then
            rm -f "$configuration"
            echo "Now listening on: $scheme://127.0.0.1:$port"
            return
        fi
        sleep 0.05
    done
    echo "nginx-peer.sh: nginx did not start within $try tries" >&2
}
(announce &)

pinned=()
[ -z "$cpu" ] || pinned=(taskset -c "$cpu")
trap - EXIT
exec "${pinned[@]}" nginx -p "$directory" -e error.log -c "$configuration"

#!/usr/bin/env bash
# A private PostgreSQL for the database scenarios of the comparison, with their tables in it.
#
#     scripts/postgres.sh start DIR PORT               # PORT may be `auto`; prints the URL, and nothing else
#     scripts/postgres.sh stop DIR                     # ends it and removes its data
#
#     export DATABASE_URL=$(taskset -c 1 scripts/postgres.sh start /tmp/bench-db auto)
#
# Installs Debian's package if there is none; the system's own cluster is never touched. DIR must be empty or not
# there yet; root hands it to the user `postgres`, for the server refuses to run as root. It listens on 127.0.0.1
# and on a socket in DIR, asks for no password, and may lose everything at a power cut: it is to be thrown away.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=scripts/clients/machine.sh
source "$root/scripts/clients/machine.sh"
trap allow_services EXIT

fail() {
    printf 'postgres.sh: %s\n' "$*" >&2
    exit 1
}

usage() {
    sed -n '4,5s/^#  *//p' "$0" >&2
    exit 2
}

# Debian keeps the programs of each version in a directory of its own: the newest one counts.
find_programs() {
    local newest
    newest=$({ find /usr/lib/postgresql -mindepth 2 -maxdepth 2 -name bin 2> /dev/null || true; } |
        sort --version-sort | tail -n 1)
    [ -z "$newest" ] || PATH=$newest:$PATH
}

# Runs a program as a user who is not root, from where that user may be.
as_user() {
    if [ "$(id -u)" -eq 0 ]; then
        (cd / && exec runuser -u postgres -- "$@")
    else
        "$@"
    fi
}

configuration() {
    cat << END
listen_addresses = '127.0.0.1'
port = $port
unix_socket_directories = '$directory'
max_connections = 200
shared_buffers = 256MB
fsync = off
synchronous_commit = off
full_page_writes = off
checkpoint_timeout = 1h
max_wal_size = 2GB
jit = off
END
}

start() {
    local directory=$1 port=$2 data
    find_programs
    need initdb postgresql >&2
    find_programs
    [ ! -e "$directory" ] || [ -z "$(ls -A "$directory")" ] || fail "$directory is not empty"
    mkdir -p "$directory"
    directory=$(cd "$directory" && pwd)
    data=$directory/data
    if [ "$port" = auto ]; then
        port=$(free_port 20000)
    fi
    [[ $directory != *\'* ]] || fail "no quote may be in $directory"
    # What the address of a Unix socket has room for.
    [ ${#directory} -le 85 ] || fail "$directory is too long for a socket's path"
    if [ "$(id -u)" -eq 0 ]; then
        chown postgres: "$directory"
        as_user test -w "$directory" || fail "the user postgres cannot reach $directory"
    fi
    as_user initdb --pgdata="$data" --username=bench --auth=trust --encoding=UTF8 --locale=C --no-sync \
        --no-instructions >&2
    configuration | as_user tee "$data/bench.conf" > /dev/null
    echo "include 'bench.conf'" | as_user tee -a "$data/postgresql.conf" > /dev/null
    if ! as_user pg_ctl --pgdata="$data" --log="$directory/log" --wait start >&2; then
        cat "$directory/log" >&2
        stop "$directory"
        fail 'it does not start'
    fi
    as_user psql --host="$directory" --port="$port" --username=bench --dbname=postgres --no-psqlrc --quiet \
        --set=ON_ERROR_STOP=1 < "$root/bench/database.sql" >&2 || {
        stop "$directory"
        fail 'the tables cannot be made'
    }
    echo "postgresql://bench@127.0.0.1:$port/postgres"
}

stop() {
    local directory=$1
    [ -e "$directory/data/bench.conf" ] || fail "$directory was not made by this script"
    directory=$(cd "$directory" && pwd)
    find_programs
    # It may have ended by itself.
    as_user pg_ctl --pgdata="$directory/data" --mode=immediate --wait stop >&2 || true
    rm -rf "$directory/data" "$directory/log"
}

case $#,${1:-} in
    3,start)
        [[ $3 =~ ^([0-9]+|auto)$ ]] || usage
        start "$2" "$3"
        ;;
    2,stop) stop "$2" ;;
    *) usage ;;
esac

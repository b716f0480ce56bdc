# What scripts need of a machine: packages, and free ports. Whoever sources this calls allow_services at its end.
# shellcheck shell=bash

as_root=()
[ "$(id -u)" -eq 0 ] || as_root=(sudo)
readonly POLICY=/usr/sbin/policy-rc.d
services_forbidden=

# Packages of servers start them, unless this file says no. Where there is one already it stays as it is.
forbid_services() {
    [ ! -e $POLICY ] || return 0
    services_forbidden=yes
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee $POLICY > /dev/null
    "${as_root[@]}" chmod 755 $POLICY
}

allow_services() {
    [ -n "$services_forbidden" ] || return 0
    "${as_root[@]}" rm -f $POLICY
    services_forbidden=
}

# need COMMAND PACKAGE ...: installs the packages whose commands are missing, and starts none of their services.
need() {
    local missing=()
    while [ $# -gt 0 ]; do
        command -v "$1" > /dev/null || missing+=("$2")
        shift 2
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    "${as_root[@]}" apt-get update
    forbid_services
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install --yes --no-install-recommends "${missing[@]}"
    allow_services
}

# free_port FROM: a port from FROM to FROM + 999 on which nothing listens.
free_port() {
    local port
    while true; do
        port=$(($1 + RANDOM % 1000))
        (exec 3<> "/dev/tcp/127.0.0.1/$port") 2> /dev/null || break
    done
    echo "$port"
}

#!/usr/bin/env bash
# Has a server that speaks TLS looked at by testssl.sh and sslyze, and sums up what they find.
#
#     scripts/tls-audit.sh HOST:PORT [DIRECTORY]       # default: bench/out/tls-audit
#
# Installs what is missing: Debian's testssl.sh, and sslyze from PyPI into an environment of its own below bench/out. All
# reports are left in the directory. Takes about two minutes. Status 1 if there is a fault; what is said of the
# certificate, which may well be a self-signed one, is shown and is none.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
clients=$root/scripts/clients
# shellcheck source=scripts/clients/machine.sh
source "$clients/machine.sh"
trap allow_services EXIT

if [ $# -lt 1 ] || [ $# -gt 2 ] || ! [[ $1 =~ ^([^/:]+):([0-9]+)$ ]]; then
    sed -n '4s/^#  *\(.*[^ ]\)  *#.*/\1/p' "$0" >&2
    exit 2
fi
host=${BASH_REMATCH[1]}
port=${BASH_REMATCH[2]}
reports=$(realpath --canonicalize-missing "${2:-$root/bench/out/tls-audit}")
environment=$root/bench/out/sslyze

need testssl testssl.sh python3 python3
if [ ! -x "$environment/bin/sslyze" ]; then
    if ! python3 -c 'import ensurepip' 2> /dev/null; then
        "${as_root[@]}" apt-get install --yes --no-install-recommends python3-venv
    fi
    python3 -m venv "$environment"
    "$environment/bin/pip" install --quiet sslyze==6.3.1
fi

mkdir -p "$reports"
rm -f "$reports"/testssl.{json,txt} "$reports"/sslyze.{json,txt}

# Both end with a status of their own for what they find, which their reports tell too. Protocols, groups, suites,
# certificate, weaknesses, and what clients do that servers may stumble over.
echo "testssl.sh looks at $host:$port"
timeout 600 testssl --quiet --color 0 --warnings off --nodns none --severity LOW \
    --protocols --fs --server-preference --server-defaults --vulnerable --grease \
    --jsonfile "$reports/testssl.json" "$host:$port" > "$reports/testssl.txt" 2>&1 || true
echo "sslyze looks at $host:$port"
timeout 600 "$environment/bin/sslyze" --mozilla_config disable --json_out "$reports/sslyze.json" \
    --sslv2 --sslv3 --tlsv1 --tlsv1_1 --tlsv1_2 --tlsv1_3 --certinfo --compression --early_data --ems --fallback \
    --heartbleed --openssl_ccs --reneg --resum --robot --elliptic_curves \
    "$host:$port" > "$reports/sslyze.txt" 2>&1 || true
for report in testssl sslyze; do
    if [ ! -s "$reports/$report.json" ]; then
        echo "$report did not come to its end:" >&2
        tail -n 20 "$reports/$report.txt" >&2
        exit 1
    fi
done
python3 "$clients/tls/audit.py" "$reports/testssl.json" "$reports/sslyze.json"

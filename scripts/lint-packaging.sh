#!/usr/bin/env bash
# What packaging/ has for systemd and for Docker Compose, looked at by these themselves, where they are
# installed. The units are to name no program that is not installed, so they are checked as copies.
set -euo pipefail
cd "$(dirname "$0")/.."

if command -v systemd-analyze >/dev/null 2>&1; then
    units=$(mktemp -d)
    trap 'rm -rf "$units"' EXIT
    for unit in packaging/*.service; do
        name=${unit##*/}
        sed 's#/usr/bin/riptide#/bin/true#' "$unit" >"$units/${name/@/@example}"
    done
    # It succeeds with warnings as well, such as that of a setting it does not know.
    said=$(systemd-analyze verify --man=no "$units"/*.service 2>&1) || said+=' (failed)'
    if [[ -n $said ]]; then
        printf 'lint: systemd-analyze: %s\n' "$said" >&2
        exit 1
    fi
else
    echo 'lint: systemd-analyze is not installed: the units are left out'
fi

if docker compose version >/dev/null 2>&1; then
    docker compose -f packaging/docker-compose.yml config --quiet
elif command -v docker-compose >/dev/null 2>&1; then
    docker-compose -f packaging/docker-compose.yml config --quiet
else
    echo 'lint: docker compose is not installed: docker-compose.yml is left out'
fi

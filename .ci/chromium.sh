#!/usr/bin/env bash
# A real Chromium for the tests of report.html: installed if there is none. Does nothing where there is one, so
# it may be called again and again. Debian or Ubuntu, as root. Playwright, which drives it, comes with '.[test]'.
set -euo pipefail

# The names under which the tests look for it (tests/support/browsing.py).
NAMES="chromium chromium-browser google-chrome google-chrome-stable"

fail() { echo "chromium: $1" >&2 && exit 1; }

found() {
    local name
    for name in $NAMES; do
        command -v "$name" && return
    done
}

if [ -z "$(found || true)" ]; then
    [ "$(id -u)" -eq 0 ] || fail "none of $NAMES is there, and only root can install it"
    command -v apt-get >/dev/null || fail "none of $NAMES is there, and there is no apt-get"
    log=$(mktemp)
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update && apt-get install --yes --no-install-recommends chromium fonts-dejavu-core; } \
        >"$log" 2>&1 || { tail -n 20 "$log" >&2 && fail "apt-get could not install it"; }
    rm -f "$log"
fi
name=$(found || true)
[ -n "$name" ] || fail "it was installed, but none of $NAMES is there"
echo "chromium: $("$name" --version 2>/dev/null)"

# Chromium without a window.
# To be sourced.
# shellcheck shell=bash

# browse PROFILE CHROMIUM-ARGUMENT...: standard output is the page, if asked for.
browse() {
    local profile=$work/$1
    shift
    mkdir "$profile"
    HOME=$profile timeout --kill-after 5 40 chromium --headless --no-sandbox --disable-gpu --disable-quic \
        --no-first-run --disable-background-networking --disable-component-update --disable-sync \
        --no-proxy-server --hide-scrollbars --user-data-dir="$profile/data" "$@" 2> "$profile/log" ||
        { echo "status $?: $(tail -n 5 "$profile/log")"; return 1; }
}

# check_chromium ORIGIN SCREENSHOT
check_chromium() {
    origin=$1
    check 'Chromium: welcome page' page
    check 'Chromium: screenshot' screenshot "$2"
    check 'Chromium: json' json_page
    echo "screenshot: $2"
}

page() {
    local dom
    dom=$(browse page --dump-dom "$origin/")
    has 'the page' '<h1>Peregrine is up.</h1>' "$dom"
    # Written by the page's script.
    has 'the page' "<span id=\"origin\">$origin</span>/echo" "$dom"
}

screenshot() {
    rm -f "$1"
    browse screenshot --screenshot="$1" --window-size=1280,900 "$origin/"
    has 'the file' 'PNG' "$(head -c 4 "$1" | tail -c 3)"
    has 'its size' '^[0-9]{5,}$' "$(wc -c < "$1")"
}

json_page() {
    local dom
    dom=$(browse json --dump-dom "$origin/json")
    has 'the page' '\{"message":"Hello, World!"\}' "$dom"
}

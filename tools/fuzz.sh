#!/bin/sh
# Runs the fuzz targets, FUZZ_SECONDS (60) each; what it finds goes to fuzz/found. Named targets only, where there are any.
set -eu
cd "$(dirname "$0")/.."
command -v cargo-fuzz >/dev/null || cargo install --locked cargo-fuzz@0.13.2
for target in ${*:-frames binary requests answers streams}; do
    printf '\n== fuzz: %s\n' "$target"
    mkdir -p "fuzz/found/$target"
    cargo fuzz run --fuzz-dir fuzz "$target" "fuzz/found/$target" "fuzz/corpus/$target" -- -max_total_time="${FUZZ_SECONDS:-60}" -timeout=10 -rss_limit_mb=4096
done

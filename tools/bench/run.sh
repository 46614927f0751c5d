#!/bin/sh
# Figures: builds what measures, then measures. README.md says what each means.
set -eu
cd "$(dirname "$0")/../.."
if [ "$(uname -s)" != Linux ]; then
    echo "The bench reads CPU time from Linux's process clocks; it runs on Linux only." >&2
    exit 1
fi
# Not --locked: the lock holds the root package's dependencies too, and follows them.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/bench"
echo "Building the bench"
cargo build --quiet --release --manifest-path tools/bench/Cargo.toml
BENCH_BIN="$CARGO_TARGET_DIR/release" exec tools/node tools/bench/bench.mjs

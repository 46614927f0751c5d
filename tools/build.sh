#!/bin/sh
# Compiles the worker to build/: cargo makes the Wasm, wasm-bindgen its JavaScript, wasm-opt tidies up; wrangler bundles both.
set -eu
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}

# Two that start at once must not write the same files.
mkdir -p "$target"
if [ -z "${BUILD_LOCKED:-}" ] && command -v flock >/dev/null; then
    BUILD_LOCKED=1 exec flock "$target/.build-lock" tools/build.sh
fi
tools/setup.sh

# One crate type only: with cdylib and rlib together cargo drops link-time optimisation without a word.
# The standard library is built too, because the one that ships for Wasm aborts on panic; with unwinding
# a panic costs one request, not the whole isolate.
. tools/wasm.env
echo "Building the worker"
cargo rustc --locked --lib --crate-type cdylib --release $WASM_FLAGS

wasm=$target/wasm32-unknown-unknown/release/megarouter.wasm
if [ build/index.js -nt "$wasm" ] && [ build/index.js -nt "$target/tools/debug/bindgen" ]; then
    exit 0
fi
# Made aside and moved, so that a worker that is running never sees half of it.
tools/bindgen.sh "$wasm" build.new
rm -rf build
mv build.new build

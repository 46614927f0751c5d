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
bindgen=$target/tools/debug/bindgen
if [ build/index.js -nt "$wasm" ] && [ build/index.js -nt "$bindgen" ]; then
    exit 0
fi
# Made aside and moved, so that a worker that is running never sees half of it.
rm -rf build.new
"$bindgen" "$wasm" build.new
# What bindgen leaves out leaves gaps; closing them is worth 3 % of the upload.
tools/node node_modules/binaryen/bin/wasm-opt -O1 --enable-bulk-memory --enable-exception-handling --enable-multivalue \
    --enable-mutable-globals --enable-nontrapping-float-to-int --enable-reference-types --enable-sign-ext \
    build.new/index_bg.wasm -o build.new/index_bg.wasm
rm -rf build
mv build.new build

#!/bin/sh
# `bindgen.sh WASM OUT_DIR`: what cargo compiled, made ready for the bundler: wasm-bindgen writes its JavaScript, wasm-opt tidies up,
# and the last step makes alike what is alike, for compression to find.
set -eu
cd "$(dirname "$0")/.."
rm -rf "$2"
bindgen=${CARGO_TARGET_DIR:-target}/tools/debug/bindgen
"$bindgen" "$1" "$2"
# What bindgen leaves out leaves gaps; closing them is worth 3 % of the upload. The first kilobyte of memory is the far end of the
# stack: what points below it is an overflow already, so that an addition may go into the offset of a load.
tools/node node_modules/binaryen/bin/wasm-opt -O1 --shrink-level=1 --low-memory-unused --dae-optimizing --rse --vacuum --reorder-locals \
    --enable-bulk-memory --enable-exception-handling --enable-multivalue --enable-mutable-globals \
    --enable-nontrapping-float-to-int --enable-reference-types --enable-sign-ext "$2/index_bg.wasm" -o "$2/index_bg.wasm"
"$bindgen" --order "$2/index_bg.wasm"

#!/bin/sh
# Figures: builds what measures, then measures. README.md says what each means.
set -eu
cd "$(dirname "$0")/../.."
if [ "$(uname -s)" != Linux ]; then
    echo "The bench reads CPU time from Linux's process clocks; it runs on Linux only." >&2
    exit 1
fi
target=${CARGO_TARGET_DIR:-target}
# Not --locked: the lock holds the root package's dependencies too, and follows them.
export CARGO_TARGET_DIR="$target/bench"
echo "Building the bench"
cargo build --quiet --release --manifest-path tools/bench/Cargo.toml
case " ${ONLY:-availability} " in *" availability "*)
    CARGO_TARGET_DIR=$target cargo test --quiet --release --locked --test availability -- --ignored --nocapture |
        grep '^{' >"$CARGO_TARGET_DIR/availability.json" ;;
esac
# The cases as Wasm, made as the worker itself is.
case " ${ONLY:-wasm} " in *" wasm "*)
    sed -n '/^\[profile\.release/,/^$/p' Cargo.toml >"$CARGO_TARGET_DIR/profile.toml"
    (. tools/wasm.env && cargo rustc --quiet --lib --crate-type cdylib --release --manifest-path tools/bench/pure/Cargo.toml \
        --config "$CARGO_TARGET_DIR/profile.toml" $WASM_FLAGS)
    CARGO_TARGET_DIR=$target tools/bindgen.sh "$target/bench/wasm32-unknown-unknown/release/pure.wasm" "$target/bench/wasm"
    # Here no bundler follows: what imports a package gets it in.
    find "$target/bench/wasm/snippets" -name payer.js -exec tools/node node_modules/esbuild/bin/esbuild {} --bundle --format=esm \
        --log-level=error --allow-overwrite --outfile={} \; ;;
esac
BENCH_AVAILABILITY="$CARGO_TARGET_DIR/availability.json" BENCH_BIN="$CARGO_TARGET_DIR/release" BENCH_WASM="$CARGO_TARGET_DIR/wasm" exec tools/node tools/bench/bench.mjs

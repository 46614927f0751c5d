#!/bin/sh
# `router.sh train|eval`: the trainer and the judge of the routing, built by the pinned toolchain.
set -eu
cd "$(dirname "$0")/.."
# A path is meant from where make was called.
CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target} cargo build --quiet --locked --release --manifest-path tools/router/Cargo.toml
exec "${CARGO_TARGET_DIR:-target}/release/router" "$1"

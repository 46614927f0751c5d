#!/bin/sh
# Decisions of the past, by the worker's own code: REQUEST=req_… makes one again; without it, what another MODE or CATALOG would have chosen.
set -eu
cd "$(dirname "$0")/.."
export REPLAY="${CARGO_TARGET_DIR:-target}/debug/replay"
CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target} cargo build --quiet --locked --manifest-path tools/replay/Cargo.toml
exec tools/node tools/backtest.mjs

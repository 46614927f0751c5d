#!/bin/sh
# Bundles the worker as it is deployed. With --dry-run it stays here and is weighed.
set -eu
cd "$(dirname "$0")/.."
export WRANGLER_SEND_METRICS=false WRANGLER_HIDE_BANNER=true
wrangler() { tools/node node_modules/wrangler/bin/wrangler.js "$@"; }

if [ "${1:-}" != --dry-run ]; then
    wrangler d1 migrations apply DB --remote
    wrangler deploy --minify
    exit
fi
rm -rf dist
wrangler deploy --minify --dry-run --outdir dist
tools/node tools/weigh.mjs dist

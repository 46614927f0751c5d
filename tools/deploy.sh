#!/bin/sh
# Deploys the worker. `--bundle DIR` only writes to DIR what would be uploaded; `--dry-run` writes it to dist/ and weighs it.
set -eu
cd "$(dirname "$0")/.."
export WRANGLER_SEND_METRICS=false WRANGLER_HIDE_BANNER=true
wrangler() { tools/node node_modules/wrangler/bin/wrangler.js "$@"; }
bundle() {
    rm -rf "$1"
    wrangler deploy --minify --dry-run --outdir "$1"
}

case "${1:-}" in
"")
    wrangler d1 migrations apply DB --remote
    wrangler deploy --minify ;;
--bundle)
    bundle "$2" ;;
--dry-run)
    bundle dist
    tools/node tools/weigh.mjs dist ;;
*)
    echo "usage: deploy.sh [--dry-run | --bundle DIR]" >&2
    exit 2 ;;
esac

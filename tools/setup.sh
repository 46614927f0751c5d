#!/bin/sh
# Installs what the build needs; a step whose inputs have not changed is skipped. `tools/setup.sh x402` installs what the payment rig
# of the tests needs instead.
set -eu
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}

need() { command -v "$1" >/dev/null || { echo "$1 is missing: $2" >&2; exit 1; }; }

# npm keeps a copy of the lock file's content inside node_modules, written last. The folders are those of packages and of their lock.
npm_ci() {
    if ! [ "$1/node_modules/.package-lock.json" -nt "$1/package-lock.json" ]; then
        echo "Installing npm packages${2:-}"
        npm --prefix "$1" ci --ignore-scripts --no-audit --no-fund --loglevel=error
    fi
}

if [ "${1:-}" = x402 ]; then
    need node "install Node.js 20 or newer"
    need npm "it comes with Node.js"
    npm_ci .
    npm_ci tests/x402 " of the payment rig"
    exit
fi

need rustup "install it from https://rustup.rs"
need node "install Node.js 20 or newer"
need npm "it comes with Node.js"
need cc "install a C compiler (Debian: apt-get install gcc libc6-dev)"

# npm works while rustup and cargo do.
npm_ci . &
npm=$!
mkdir -p "$target"

# rustup reads rust-toolchain.toml. Without --no-self-update it would also replace itself.
stamp=$target/.toolchain
if ! cmp -s rust-toolchain.toml "$stamp" || ! rustc --version >/dev/null 2>&1; then
    echo "Installing the Rust toolchain"
    rustup --quiet toolchain install --no-self-update
    cp rust-toolchain.toml "$stamp"
fi

# Cargo itself knows whether there is anything to do. A folder of its own: its flags are not the worker's.
CARGO_TARGET_DIR=$target/tools cargo build --quiet --locked --manifest-path tools/bindgen/Cargo.toml

wait "$npm"

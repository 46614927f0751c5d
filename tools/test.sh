#!/bin/sh
# Everything that must hold. `tools/test.sh host runtime` runs only those steps; a new step is a function and a word in `all`.
set -eu
cd "$(dirname "$0")/.."
all="sandbox host bindgen doc receipt replay cli router x402 runtime sdk"

# The providers' stand-in, on its own.
sandbox() { node_tests tests/sandbox/*.test.mjs; }

# The pure rooms, natively.
host() {
    if command -v cargo-nextest >/dev/null; then cargo nextest run --locked; else cargo test --locked --lib --tests; fi
}

# What changes the Wasm after the linker. Its folder is that of the build.
bindgen() { CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/tools cargo test --locked --quiet --manifest-path tools/bindgen/Cargo.toml; }

# The examples in the documentation.
doc() { cargo test --locked --doc --quiet; }

# The commands that check receipts, and make decisions again, away from the worker. The folder they build into is the library's: what
# both use is compiled once.
replay() { CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target} cargo test --locked --quiet --manifest-path tools/replay/Cargo.toml; }
receipt() { CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target} cargo test --locked --quiet --manifest-path tools/receipt/Cargo.toml; }

# The command line for admins.
cli() { CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target} cargo test --locked --quiet --manifest-path tools/megarouter/Cargo.toml; }

# The trainer and the judge of the routing, optimised: the judging is arithmetic.
router() { CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target} cargo test --locked --quiet --release --manifest-path tools/router/Cargo.toml; }

# The payment rig against itself: stock clients, the stock facilitator, a chain.
x402() { payers; PYTHON=$python node_tests tests/x402/*.test.mjs; }

# The worker in the real runtime, with its own key-value store, database and objects; wallets pay it through the rig.
runtime() { payers; PYTHON=$python node_tests tests/runtime/*.test.mjs; }

# What the rig and its clients in Python are made of: installed once, and again when a lock changes.
python=$PWD/.tools/x402/bin/python
payers() {
    tools/setup.sh x402
    lock=tests/x402/clients/python/requirements.txt
    if ! cmp -s "$lock" .tools/x402/requirements.txt; then
        rm -rf .tools/x402
        python3 -m venv .tools/x402
        .tools/x402/bin/pip install --quiet --disable-pip-version-check --no-deps --requirement "$lock"
        cp "$lock" .tools/x402/requirements.txt
    fi
}

# The official client libraries against a worker that `make run` started.
sdk() { if [ -x tests/sdk/run.sh ]; then tests/sdk/run.sh; fi; }

node_tests() { if [ -e "$1" ]; then tools/node --test --test-reporter=spec --test-timeout=180000 --test-concurrency=2 "$@"; fi; }

for step in ${*:-$all}; do
    case " $all " in *" $step "*) ;; *) echo "No such step: $step. There are: $all" >&2; exit 2 ;; esac
    printf '\n== test: %s\n' "$step"
    "$step"
done

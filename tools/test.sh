#!/bin/sh
# Everything that must hold. `tools/test.sh host runtime` runs only those steps; a new step is a function and a word in `all`.
set -eu
cd "$(dirname "$0")/.."
all="sandbox host doc receipt replay cli router runtime sdk"

# The providers' stand-in, on its own.
sandbox() { node_tests tests/sandbox/*.test.mjs; }

# The pure rooms, natively.
host() {
    if command -v cargo-nextest >/dev/null; then cargo nextest run --locked; else cargo test --locked --lib --tests; fi
}

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

# The worker in the real runtime, with its own key-value store, database and objects.
runtime() { node_tests tests/runtime/*.test.mjs; }

# The official client libraries against a worker that `make run` started.
sdk() { if [ -x tests/sdk/run.sh ]; then tests/sdk/run.sh; fi; }

node_tests() { if [ -e "$1" ]; then tools/node --test --test-reporter=spec --test-timeout=180000 --test-concurrency=2 "$@"; fi; }

for step in ${*:-$all}; do
    case " $all " in *" $step "*) ;; *) echo "No such step: $step. There are: $all" >&2; exit 2 ;; esac
    printf '\n== test: %s\n' "$step"
    "$step"
done

#!/bin/sh
# Formatting, clippy for both targets and the tools, dependency rules. --fix formats instead; --audit asks for known vulnerabilities.
set -eu
cd "$(dirname "$0")/.."
manifests=$(find . -name Cargo.toml -not -path '*/node_modules/*' -not -path '*/target/*')

# cargo-deny, at the version that deny.toml was written for. Optimised only a little: it builds in half the time.
deny() {
    version=0.20.2
    if ! .tools/bin/cargo-deny --version 2>/dev/null | grep -qx "cargo-deny $version"; then
        echo "Building cargo-deny $version"
        CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
            cargo install --quiet --locked --root .tools "cargo-deny@$version"
    fi
    for manifest in $manifests; do
        .tools/bin/cargo-deny --locked --config deny.toml --manifest-path "$manifest" check --hide-inclusion-graph "$@"
    done
}

case "${1:-}" in
--fix)
    for manifest in $manifests; do cargo fmt --manifest-path "$manifest"; done ;;
--audit)
    deny advisories || {
        echo 'Either something is known against a dependency (above), or the advisory database could not be reached: then nothing is known.' >&2
        exit 1
    } ;;
*)
    printf '\n== lint: format\n'
    for manifest in $manifests; do cargo fmt --manifest-path "$manifest" --check; done
    printf '\n== lint: clippy, host\n'
    cargo clippy --locked --all-targets -- -D warnings
    printf '\n== lint: clippy, wasm\n'
    (. tools/wasm.env && cargo clippy --locked --lib $WASM_FLAGS -- -D warnings)
    printf '\n== lint: clippy, tools\n'
    # They use the library; nothing else tells that it has moved away under the bench.
    for package in bench/pure megarouter receipt replay router; do
        CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target} \
            cargo clippy --locked --all-targets --manifest-path "tools/$package/Cargo.toml" -- -D warnings
    done
    printf '\n== lint: dependencies\n'
    deny bans licenses sources ;;
esac

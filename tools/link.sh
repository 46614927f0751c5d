#!/bin/sh
# Links the worker with the toolchain's own linker, but exports no class of a library that nobody here makes: what is exported is
# kept with all it calls, and what that keeps in the function table no later step can take out (1 % of the upload).
set -eu
lld=$(rustc --print target-libdir)/../bin/rust-lld
kept=$(mktemp)
trap 'rm -f "$kept"' EXIT
export=
shift 2 # -flavor wasm: the first words wherever they are said
for arg in "$@"; do
    case $export$arg in
    --export) export=--export ;;
    --export*containerstartupoptions* | --export*intounderlying* | --export*minifyconfig* | --export*r2range*) export= ;;
    --export*) printf -- '--export\n%s\n' "$arg" && export= ;;
    *) printf '"%s"\n' "$arg" ;;
    esac
done > "$kept"
"$lld" -flavor wasm "@$kept"

#!/bin/sh
# The makers' own client libraries judge a worker that `make run` started: each completes a chat, a stream and a tool call.
set -eu
cd "$(dirname "$0")/../.."
here=tests/sdk
venv=.tools/sdk

# Installed once, and again when a lock changes.
if ! cmp -s "$here/requirements.txt" "$venv/requirements.txt"; then
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --requirement "$here/requirements.txt"
    cp "$here/requirements.txt" "$venv/requirements.txt"
fi
if ! [ "$here/node_modules/.package-lock.json" -nt "$here/package-lock.json" ]; then
    npm --prefix "$here" ci --ignore-scripts --no-audit --no-fund --loglevel=error
fi

. tests/worker.sh

# Each judge prints lines of judge, case and outcome, tabs between them; a judge that dies fails the whole.
judges="openai_py anthropic_py comply_py openai_js ai_js"
failed=
for judge in $judges; do
    case $judge in
        *_py) "$venv/bin/python" "$here/$judge.py" "$state/run.json" ;;
        *_js) tools/node "$here/$judge.mjs" "$state/run.json" ;;
    esac >"$state/$judge.out" 2>"$state/$judge.err" || {
        failed=1
        echo "$judge died:" >&2
        cat "$state/$judge.err" >&2
    }
done

cd "$state"
for judge in $judges; do cat "$judge.out"; done | awk -F '\t' '
    !($1 in seen) { seen[$1]; judges[++rows] = $1 }
    !($2 in known) { known[$2]; cases[++columns] = $2 }
    { outcome[$1, $2] = $3 == "ok" ? "ok" : "FAILED" }
    $3 == "ok" { passed++; next }
    { failed++; told = told "\n" $1 ", " $2 ": " $3 }
    END {
        printf "%-40s", "judge"
        for (c = 1; c <= columns; c++) printf "%-9s", cases[c]
        print ""
        for (r = 1; r <= rows; r++) {
            printf "%-40s", judges[r]
            for (c = 1; c <= columns; c++) printf "%-9s", (judges[r], cases[c]) in outcome ? outcome[judges[r], cases[c]] : "-"
            print ""
        }
        if (told) print told
        printf "\n%d passed, %d failed\n", passed, failed
        exit failed > 0 || !passed
    }' && [ -z "$failed" ]

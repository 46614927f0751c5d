#!/bin/sh
# Judges that nobody here wrote, against a worker that `make run` started: suites of other projects, and coding agents.
# `run.sh codex langchain` asks only those. What they need is installed into .tools/judges, at the versions pinned here.
set -eu
cd "$(dirname "$0")/../.."
all="openai_tests langchain schemathesis codex claude_code"
here=$PWD/tests/judges
tools=$PWD/.tools/judges
judges=${*:-$all}
for judge in $judges; do
    case " $all " in *" $judge "*) ;; *) echo "No such judge: $judge. There are: $all" >&2; exit 2 ;; esac
done
asked() { case " $judges " in *" $1 "*) ;; *) return 1 ;; esac; }

# Installed once, and again when a lock changes.
mkdir -p "$tools"
pip() { "$tools/python/bin/pip" "$@" --quiet --disable-pip-version-check --no-deps; }
if ! cmp -s "$here/requirements.txt" "$tools/python/requirements.txt"; then
    rm -rf "$tools/python"
    python3 -m venv "$tools/python"
    pip install --requirement "$here/requirements.txt"
    cp "$here/requirements.txt" "$tools/python/"
fi
if asked openai_tests && ! cmp -s "$here/suite.txt" "$tools/suite/suite.txt"; then
    rm -rf "$tools/suite"
    mkdir "$tools/suite"
    pip download --require-hashes --no-binary :all: --requirement "$here/suite.txt" --dest "$tools/suite"
    tar -xzf "$tools"/suite/*.tar.gz --strip-components 1 -C "$tools/suite"
    cp "$here/suite.txt" "$tools/suite/"
fi
if asked codex || asked claude_code; then
    if ! cmp -s "$here/package-lock.json" "$tools/agents/installed.json"; then
        mkdir -p "$tools/agents"
        cp "$here/package.json" "$here/package-lock.json" "$tools/agents/"
        npm --prefix "$tools/agents" ci --ignore-scripts --no-audit --no-fund --loglevel=error
        cp "$here/package-lock.json" "$tools/agents/installed.json"
    fi
fi

. tests/worker.sh

# Each judge appends its outcomes to one file; a judge that dies fails the whole.
export JUDGE_RUN="$state/run.json" JUDGE_OUT="$state/told.tsv" PYTHONDONTWRITEBYTECODE=1
: >"$JUDGE_OUT"
python=$tools/python/bin/python
failed=
for judge in $judges; do
    echo "Asking $judge" >&2
    case $judge in
        openai_tests) "$python" "$here/openai_tests.py" "$tools/suite" ;;
        langchain) "$python" "$here/langchain_run.py" ;;
        schemathesis) "$python" "$here/fuzz.py" && "$python" "$here/openapi.py" ;;
        *) "$python" "$here/agents.py" "$judge" "$tools/agents" tools/node ;;
    esac >"$state/$judge.log" 2>&1 || {
        failed=1
        echo "$judge died:" >&2
        tail -40 "$state/$judge.log" >&2
    }
done

# shellcheck disable=SC2086 # the judges are words
"$python" "$here/table.py" "$JUDGE_OUT" "$here/explained.tsv" $judges && [ -z "$failed" ]

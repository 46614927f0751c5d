# For scripts of judges: a worker that `make run` started in $state, ended with the script. $state/run.json says where it is.
# shellcheck shell=sh
state=$(mktemp -d)
run=
end() {
    if [ -n "$run" ]; then
        kill "$run" 2>/dev/null || true
        wait "$run" 2>/dev/null || true
    fi
    rm -rf "$state"
}
trap end EXIT
trap 'exit 130' INT TERM

PORT=0 STATE_DIR=$state make --no-print-directory run >"$state/run.log" 2>&1 &
run=$!
until [ -e "$state/run.json" ]; do
    if ! kill -0 "$run" 2>/dev/null; then
        cat "$state/run.log" >&2
        exit 1
    fi
    sleep 0.1
done

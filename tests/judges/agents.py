"""One real turn of a coding agent, headless, on models of both dialects: `agents.py codex` or `agents.py claude_code`.

Each runs in an empty folder with a home of its own, knows no address but ours, and would reach no other: what it
asks of the rest of the world goes to a proxy that is not there.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from told import ANTHROPIC, OPENAI, RUN, tell

AGENT, PACKAGES, NODE = sys.argv[1], Path(sys.argv[2]).resolve(), Path(sys.argv[3]).resolve()
COUNT = "one two three four five"
NOWHERE = "http://127.0.0.1:9"
SECONDS = 120


def codex(model, home):
    gateway = {
        "model_provider": "gw",
        "model_providers.gw.name": "MegaRouter",
        "model_providers.gw.base_url": f"{RUN['base_url']}/v1",
        "model_providers.gw.env_key": "GW_KEY",
        "model_providers.gw.wire_api": "responses",
        "analytics.enabled": False,
        "check_for_update_on_startup": False,
        "feedback.enabled": False,
    }
    settings = [word for name, value in gateway.items() for word in ("-c", f"{name}={str(value).lower() if value is False else value}")]
    command = ["exec", *settings, "-m", model, "--skip-git-repo-check", "--sandbox", "read-only", "count to 5"]
    return command, {"CODEX_HOME": str(home), "GW_KEY": RUN["inference_key"]}


def claude_code(model, home):
    return ["-p", "count to 5", "--model", model], {
        "ANTHROPIC_API_KEY": RUN["inference_key"],
        "ANTHROPIC_BASE_URL": RUN["base_url"],
        "ANTHROPIC_SMALL_FAST_MODEL": model,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "CLAUDE_CODE_TMPDIR": str(home),
        "CLAUDE_CONFIG_DIR": str(home),
        "DISABLE_AUTOUPDATER": "1",
        "DISABLE_ERROR_REPORTING": "1",
        "DISABLE_TELEMETRY": "1",
    }


LAUNCHERS = {"codex": "@openai/codex/bin/codex.js", "claude_code": "@anthropic-ai/claude-code/cli-wrapper.cjs"}
ASKS = {"codex": (codex, "/v1/responses"), "claude_code": (claude_code, "/v1/messages")}
LAUNCH = [str(NODE), str(PACKAGES / "node_modules" / LAUNCHERS[AGENT])]


def started(command, env, folder):
    plain = {
        "PATH": os.environ["PATH"], "HOME": str(folder), "TMPDIR": str(folder), "LANG": "C.UTF-8", "NO_COLOR": "1",
        "HTTP_PROXY": NOWHERE, "HTTPS_PROXY": NOWHERE, "NO_PROXY": "127.0.0.1,localhost",
    }
    return subprocess.run(
        [*LAUNCH, *command], env={**plain, **env}, cwd=folder, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=SECONDS, check=False,
    )


def turn(ask, model):
    with tempfile.TemporaryDirectory() as home, tempfile.TemporaryDirectory() as folder:
        try:
            done = started(*ask(model, Path(home)), folder)
        except subprocess.TimeoutExpired:
            return f"no end after {SECONDS} s"
    if done.returncode:
        return f"exit code {done.returncode}: {(done.stderr or done.stdout)[-400:]}"
    if "[simulated " not in done.stdout or COUNT not in done.stdout:
        return f"no answer in the output: {done.stdout[-400:]}"
    return ""


with tempfile.TemporaryDirectory() as home:
    version = started(["--version"], {"CODEX_HOME": home, "CLAUDE_CONFIG_DIR": home}, home).stdout.strip()
ask, path = ASKS[AGENT]
for model in (OPENAI, ANTHROPIC):
    why = turn(ask, model)
    tell(AGENT, version, f"{path}, {model}", f"a turn on {model}", "failed" if why else "passed", why)

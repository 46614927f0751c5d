"""llm-comply: requests and answers against the published schemas of three dialects."""

import json
import subprocess
import sys
from pathlib import Path

from judge import ANTHROPIC, OPENAI, RUN

COMMAND = Path(sys.executable).with_name("llm-comply")


def told(dialect, model):
    command = [COMMAND, "-u", f"{RUN['base_url']}/v1", "-k", RUN["inference_key"], "-m", model, "--format", dialect, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return json.loads(done.stdout)["results"]


for dialect in ("openai-chat", "open-responses", "anthropic"):
    for model in (OPENAI, ANTHROPIC):
        results = told(dialect, model)
        failed = [f"{one['name']}: {one.get('errors')}" for one in results if one["status"] == "failed"]
        passed = sum(one["status"] == "passed" for one in results)
        outcome = "ok" if passed >= 7 and not failed else "; ".join(failed) or f"only {passed} passed"
        print(f"llm-comply {dialect}, {model.split('/')[0]}", "schema", outcome.replace("\n", " "), sep="\t", flush=True)

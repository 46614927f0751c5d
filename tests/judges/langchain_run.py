"""Runs LangChain's standard tests (langchain_suite.py)."""

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from told import ANTHROPIC, OPENAI, OUT

HERE = Path(__file__).parent
CLIENTS = {
    "Chat": ("langchain-openai", "/v1/chat/completions"),
    "Responses": ("langchain-openai", "/v1/responses"),
    "Messages": ("langchain-anthropic", "/v1/messages"),
}
MODELS = {"Openai": OPENAI, "Anthropic": ANTHROPIC}

rows = {
    f"langchain_suite.py::Test{client}On{model}": (
        "langchain", f"langchain-tests {version('langchain-tests')}, {package} {version(package)}", f"{path}, {name}",
    )
    for client, (package, path) in CLIENTS.items()
    for model, name in MODELS.items()
}
env = {**os.environ, "JUDGE_ROWS": json.dumps(rows), "LANGSMITH_TRACING": "false", "PYTHONPATH": str(HERE)}
command = [
    sys.executable, "-m", "pytest", "-q", "-p", "told", "-p", "no:cacheprovider", "--benchmark-disable", "--tb=short",
    "--rootdir", str(HERE),
    # The clients keep their connections, and a connection dies with the loop that it was made on.
    "-o", "asyncio_mode=auto", "-o", "asyncio_default_test_loop_scope=session", str(HERE / "langchain_suite.py"),
]
done = subprocess.run(command, cwd=OUT.parent, env=env, check=False)
sys.exit(done.returncode not in (0, 1))

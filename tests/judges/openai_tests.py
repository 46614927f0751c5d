"""openai-python's own tests: every method with every parameter, answers parsed into strict types, raw and streamed."""

import json
import os
import subprocess
import sys
import urllib.request
from importlib.metadata import version
from pathlib import Path

from told import RUN

HERE = Path(__file__).parent
SUITE = Path(sys.argv[1])  # the unpacked source distribution
TESTS = {
    "chat/completions": "/v1/chat/completions",
    "chat/test_completions.py": "/v1/chat/completions",
    "responses": "/v1/responses",
    "test_responses.py": "/v1/responses",
    "test_models.py": "/v1/models",
    "test_embeddings.py": "/v1/embeddings",
    "test_completions.py": "/v1/completions",
}
# Names that the suite asks for and no catalog lists; the organisation gives them meaning.
ROUTES = {
    "gpt-6-astra": ("openai", "gpt-4.1-mini"),  # the suite sends stop and logprobs, which reasoning models refuse
    "gpt-3.5-turbo-instruct": ("together", "openai/gpt-oss-120b"),
}


def put_route(alias, provider, model):
    request = urllib.request.Request(
        f"{RUN['base_url']}/admin/v1/routes/{alias}",
        json.dumps({"targets": [{"provider": provider, "model": model}]}).encode(),
        {"authorization": f"Bearer {RUN['admin_key']}", "content-type": "application/json"},
        method="PUT",
    )
    urllib.request.urlopen(request).close()


for alias, (provider, model) in ROUTES.items():
    put_route(alias, provider, model)

name = ("openai_tests", f"openai {version('openai')}")
env = {
    **os.environ,
    "JUDGE_KEY": RUN["inference_key"],
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    "PYTHONPATH": str(HERE),
    "TEST_API_BASE_URL": f"{RUN['base_url']}/v1",
}


def judged(tests, suffix="", **more):
    rows = {f"tests/api_resources/{path}": (*name, against + suffix) for path, against in tests.items()}
    command = [
        sys.executable, "-m", "pytest", "-q", "-p", "pytest_asyncio.plugin", "-p", "told", "-p", "keyed",
        "-p", "no:cacheprovider", "-o", "addopts=--tb=short", *rows,
    ]
    if suffix:
        command += ["-k", "create"]
    done = subprocess.run(command, cwd=SUITE, env={**env, "JUDGE_ROWS": json.dumps(rows), "JUDGE_SUFFIX": suffix, **more}, check=False)
    return done.returncode in (0, 1)


well = judged(TESTS)
amended = {path: TESTS[path] for path in ("chat/test_completions.py", "test_responses.py")}
sys.exit(not (judged(amended, ", amended", JUDGE_AMENDED="1") and well))

"""What the judges in Python share: where the worker is, and how an outcome is told."""

import json
import sys
import urllib.request

with open(sys.argv[1], encoding="utf-8") as file:
    RUN = json.load(file)

OPENAI = "openai/gpt-5-mini"
ANTHROPIC = "anthropic/claude-haiku-4-5"
COUNT = "count to 5"
COUNTED = "one two three four five"
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
ASK_WEATHER = "What is the weather in Rome?"


def judge(name, cases):
    for case, body in cases.items():
        try:
            body()
            outcome = "ok"
        except Exception as error:
            outcome = f"{type(error).__name__}: {error}".replace("\t", " ").replace("\n", " ")
        print(name, case, outcome, sep="\t", flush=True)


def breaks_next_stream(provider):
    """The sandbox cuts the provider's next answer off, and the one that would go on with it."""
    behaviour = json.dumps({"cut_after": 4, "times": 2}).encode()
    request = urllib.request.Request(f"{RUN['sandbox_url']}/control/{provider}", behaviour, method="PUT")
    urllib.request.urlopen(request).close()


def raises(kind, body):
    try:
        body()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__} was raised")

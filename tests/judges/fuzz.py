"""schemathesis: bodies made from the published schemas, good and bad. No answer is a 5xx, and each whole 200 fits the schema."""

import base64
import json
import subprocess
import sys
import tempfile
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

from told import ANTHROPIC, OPENAI, REFUSED, RUN, tell

# llm-comply's copies of the schemas: file, path in it, where the body's members are, and how many cases are made.
SURFACES = {
    "/v1/chat/completions": ("openai_chat.json", "/chat/completions", ("CreateChatCompletionRequest", "allOf", 1), 400),
    "/v1/responses": ("openresponses.json", "/responses", ("CreateResponseBody",), 200),
    "/v1/messages": ("anthropic.json", "/v1/messages", ("CreateMessageParams",), 200),
}
MODELS = [OPENAI, ANTHROPIC, "auto", "gpt-oss-120b"]


def drop(value, member):
    if isinstance(value, dict):
        value.pop(member, None)
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        drop(inner, member)


def schema(name, path, place):
    """The one operation of the published schema, with what would only ever be refused left out, and our names of models."""
    whole = json.loads(files("llm_comply").joinpath("specs", name).read_text(encoding="utf-8"))
    operation = whole["paths"][path]["post"]
    operation["requestBody"]["content"] = {"application/json": operation["requestBody"]["content"]["application/json"]}
    for answer in operation["responses"].values():
        answer.get("content", {}).pop("text/event-stream", None)  # the schemas are of one event's data, not of a stream
    whole["paths"] = {path: {"post": operation}}
    if name == "openresponses.json":
        drop(whole, "discriminator")  # they name no types of the wire, so that every answer would break them
        effort = whole["components"]["schemas"]["ReasoningEffortEnum"]
        effort["enum"] = sorted(effort["x-enumDescriptions"])  # it describes a word, minimal, that its list leaves out
    body = whole["components"]["schemas"]
    for step in place:
        body = body[step]
    for refused in REFUSED.get(path, ()):
        body["properties"].pop(refused, None)
    body["properties"]["model"] = {"type": "string", "enum": MODELS}
    body["required"] = sorted({"model", *({"input"} & set(body["properties"])), *body.get("required", ())})
    return whole


def fuzzed(folder, cases, url):
    command = [
        Path(sys.executable).with_name("schemathesis"), "run", "schema.json", "--url", url, "--phases", "fuzzing",
        "-H", f"authorization: Bearer {RUN['inference_key']}", "--checks", "not_a_server_error,response_schema_conformance",
        "--max-examples", str(cases), "--seed", "1", "--generation-database", "none", "--continue-on-failure", "--no-shrink",
        "--request-timeout", "30", "--suppress-health-check", "all", "--warnings", "off", "--no-color",
        "--report", "ndjson", "--report-ndjson-path", "events.ndjson",
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    print(done.stdout, done.stderr)
    events = [json.loads(line) for line in (folder / "events.ndjson").read_text(encoding="utf-8").splitlines()]
    scenarios = [event["ScenarioFinished"] for event in events if "ScenarioFinished" in event]
    records = [scenario["recorder"] for scenario in scenarios]
    cases = [(one, record["checks"].get(case, [])) for record in records for case, one in record["interactions"].items()]
    return cases, done.returncode


def content(message, member):
    return base64.b64decode((message.get(member) or {}).get("$base64", "")).decode(errors="replace")[:300]


def why_not(one, checks):
    answer = one["response"]
    asked = content(one["request"], "body")
    if answer is None:
        return f"no answer to {asked}"
    broken = [check["name"] for check in checks if check["status"] not in ("success", "skip")]
    if broken or answer["status_code"] >= 500:
        return f"{answer['status_code']} {', '.join(broken)}: {content(answer, 'content')} to {asked}"
    return ""


well = True
for path, (name, own, body, wanted) in SURFACES.items():
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        (folder / "schema.json").write_text(json.dumps(schema(name, own, body)), encoding="utf-8")
        cases, code = fuzzed(folder, wanted, RUN["base_url"] + path.removesuffix(own))
    row = ("schemathesis", f"schemathesis {version('schemathesis')}", f"{path}, {name} of llm-comply {version('llm-comply')}")
    failures = 0
    for number, (one, checks) in enumerate(cases, 1):
        why = why_not(one, checks)
        failures += bool(why)
        tell(*row, f"{path} case {number}", "failed" if why else "passed", why)
    answered = sum((one["response"] or {}).get("status_code") == 200 for one, _ in cases)
    print(f"{path}: {len(cases)} cases, {answered} answered 200")
    # Fewer cases, or cases that never reach a provider, or an error of the tool's own, would prove little.
    well = well and len(cases) >= wanted * 3 // 4 and answered >= len(cases) // 5 and (failures > 0 or code == 0)
sys.exit(not well)

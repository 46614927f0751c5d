"""schemathesis against our own document: requests made from schema/openapi.json, good and bad. Each answer is one it documents.

The admin plane is asked with the key of an organisation that is made for it, its ids filled with those of things that are there.
"""

import base64
import json
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from importlib.metadata import version
from pathlib import Path

from told import OPENAI, RUN, tell

DOCUMENT = json.loads((Path(__file__).parents[2] / "schema" / "openapi.json").read_text(encoding="utf-8"))
METHODS = ("get", "put", "post", "patch", "delete")
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,"
    "response_headers_conformance,negative_data_rejection"
)
# What is not asked, and why.
LEFT_OUT = {
    ("put", "/platform/v1/catalog"): "a catalog of chance in force would leave no model to whoever comes next",
    ("post", "/admin/v1/wallet/topups"): "without a card processor it is a 503",
    ("post", "/platform/v1/stripe/webhook"): "as above",
    ("post", "/v1/chat/completions"): "fuzz.py asks it, by the schema of its own dialect",
    ("post", "/v1/responses"): "as above",
    ("post", "/v1/messages"): "as above",
    ("post", "/v1/messages/count_tokens"): "its body is Anthropic's",
    ("post", "/v1/completions"): "its body is OpenAI's",
    ("post", "/v1/embeddings"): "its body is OpenAI's",
}
CASES = {"admin": 12, "operator": 40, "inference": 40}  # random bodies an operation, beside those at every bound


def call(method, path, token, body=None):
    data = None if body is None else json.dumps(body).encode()
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    request = urllib.request.Request(RUN["base_url"] + path, data, headers, method=method.upper())
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as refusal:
        return refusal.code, json.loads(refusal.read() or b"null")


def made(method, path, token, body):
    status, told = call(method, path, token, body)
    if status not in (200, 201):
        sys.exit(f"{method} {path}: {status} {told}")
    return told


def organization():
    """One with something of each kind: its admin key, a key for calls, and the ids that stand in paths."""
    new = made("post", "/platform/v1/organizations", RUN["operator_token"], {"name": "Judged", "credit_usd": "1000"})
    key = new["admin_key"]["secret"]

    def own(method, path, body):
        return made(method, f"/admin/v1{path}", key, body)

    outer = own("post", "/groups", {"name": "Outer"})["id"]
    inner = own("post", "/groups", {"name": "Inner", "parent_id": outer})["id"]
    member = own("post", "/members", {"name": "Spare", "group_id": inner})["id"]
    # Neither the key that asks nor its owner is among them: revoked or disabled, they would end the run.
    spare = own("post", "/api_keys", {"name": "spare"})["id"]
    invite = own("post", "/invites", {})["id"]
    hook = own("post", "/webhook_endpoints", {"url": "https://hook.invalid", "events": ["*"], "status": "disabled"})["id"]
    alert = call("post", f"/admin/v1/webhook_endpoints/{hook}/test", key)[1]["id"]
    caller = own("post", "/api_keys", {"name": "caller"})["secret"]
    provider = DOCUMENT["components"]["requestBodies"]["Provider"]["content"]["application/json"]["example"]
    own("put", "/providers/acme", provider)
    own("put", "/routes/fast", {"targets": [{"provider": "openai", "model": OPENAI.split("/")[1]}]})
    for scope in ("organization", f"groups/{inner}", f"members/{member}", f"api_keys/{spare}"):
        for window in DOCUMENT["components"]["schemas"]["Window"]["enum"]:
            # Soft: a hard one of a few cents would leave nothing to ask models with.
            own("put", f"/{scope}/budgets/{window}", {"limit_usd": "5", "mode": "soft"})
        own("put", f"/{scope}/rate_limits", {"rpm": 100000})
    asked = {"model": OPENAI, "messages": [{"role": "user", "content": "Hello!"}]}
    request = urllib.request.Request(RUN["base_url"] + "/v1/chat/completions", json.dumps(asked).encode())
    request.add_header("authorization", f"Bearer {caller}")
    with urllib.request.urlopen(request, timeout=30) as answer:
        entry = answer.headers["x-request-id"]
    ids = {
        "key_id": [spare, "none"], "group_id": [inner, outer, "none"], "member_id": [member, "none"],
        "invite_id": [invite, "none"], "webhook_endpoint_id": [hook, "none"], "alert_id": [alert, "none"],
        "entry_id": [entry, "none"], "request_id": [entry, "none"], "model": [OPENAI, "none"],
        "organization_id": [new["organization"]["id"], "org_none"],
    }
    return {"admin": key, "inference": caller, "operator": RUN["operator_token"]}, ids


def is_served(method, template):
    """Some of the document may be served later; tests/openapi.rs lists what."""
    path = template.replace("{window}", "day").replace("{", "").replace("}", "")
    status, told = call(method, path, "none", None if method == "get" else "")
    return status != 405 and (told or {}).get("error", {}).get("code") != "unknown_endpoint"


def in_header(parameter):
    name = parameter.get("$ref", "").rpartition("/")[2]
    return DOCUMENT["components"]["parameters"].get(name, parameter)["in"] == "header"


def plane(scheme, ids):
    """The document with the operations that one credential opens."""
    document = json.loads(json.dumps(DOCUMENT))
    for parameter in document["components"]["parameters"].values():
        if parameter["in"] == "path" and parameter["name"] in ids:
            parameter["schema"], parameter["example"] = {"enum": ids[parameter["name"]]}, ids[parameter["name"]][0]
    document.pop("webhooks")
    for name in ("WebhookEndpointAsk", "WebhookEndpointPatch"):
        # What is accepted is sent to: to nobody's host of chance.
        document["components"]["schemas"][name]["properties"]["url"]["pattern"] = "^https://[a-z]{1,20}[.]invalid/[a-z]*$"
    for path, item in list(document["paths"].items()):
        for method in METHODS:
            security = item.get(method, {}).get("security", document["security"])
            opens = security[0] if security else {"inference": []}
            if method in item and (scheme not in opens or (method, path) in LEFT_OUT or not is_served(method, path)):
                del item[method]
            elif method in item:
                # A header nobody knows is no fault, and with an If-Match of chance nothing would change any more.
                item[method]["parameters"] = [one for one in item[method].get("parameters", ()) if not in_header(one)]
        if not any(method in item for method in METHODS):
            del document["paths"][path]
    return document


def asked(folder, cases, token):
    command = [
        Path(sys.executable).with_name("schemathesis"), "run", "schema.json", "--url", RUN["base_url"],
        "--phases", "examples,coverage,fuzzing",
        "-H", f"authorization: Bearer {token}", "--checks", CHECKS, "--max-examples", str(cases), "--seed", "1",
        "--generation-database", "none", "--continue-on-failure", "--no-shrink", "--request-timeout", "30",
        "--suppress-health-check", "all", "--warnings", "off", "--no-color", "--report", "ndjson", "--report-ndjson-path", "events.ndjson",
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    print(done.stdout, done.stderr)
    events = [json.loads(line) for line in (folder / "events.ndjson").read_text(encoding="utf-8").splitlines()]
    records = [event["ScenarioFinished"]["recorder"] for event in events if "ScenarioFinished" in event]
    cases = []
    for record in records:
        for case, one in record.get("interactions", {}).items():
            cases.append((record["label"], one, record["checks"].get(case, [])))
    return cases, done.returncode


def content(message, member):
    return base64.b64decode((message.get(member) or {}).get("$base64", "")).decode(errors="replace")[:300]


def why_not(one, checks):
    asked, answer = one["request"], one["response"]
    shown = f"{asked['method']} {asked['uri']} {content(asked, 'body')}"
    if answer is None:
        return f"no answer to {shown}"
    broken = [check for check in checks if check["status"] not in ("success", "skip")]
    broken = [f"{check['name']} {json.dumps(check.get('failure_info') or '')[:300]}" for check in broken]
    return f"{answer['status_code']} {', '.join(broken)}: {content(answer, 'content')} to {shown}" if broken else ""


well = True
tokens, ids = organization()
for scheme, cases in CASES.items():
    document = plane(scheme, ids)
    operations = sum(method in item for item in document["paths"].values() for method in METHODS)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "schema.json").write_text(json.dumps(document), encoding="utf-8")
        told, code = asked(Path(folder), cases, tokens[scheme])
    row = ("schemathesis", f"schemathesis {version('schemathesis')}", f"schema/openapi.json, {scheme}")
    failures, good = 0, set()
    for number, (label, one, checks) in enumerate(told, 1):
        why = why_not(one, checks)
        failures += bool(why)
        if (one["response"] or {}).get("status_code", 500) < 300:
            good.add(label)
        tell(*row, f"{label} case {number}", "failed" if why else "passed", why)
    print(f"{scheme}: {len(told)} cases of {operations} operations, {len(good)} answered 2xx")
    # Operations that are never answered well, or an error of the tool's own, would prove little.
    well = well and len(told) >= 10 * operations and len(good) >= operations * 3 // 4 and (failures > 0 or code == 0)
sys.exit(not well)

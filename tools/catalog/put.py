#!/usr/bin/env python3
"""Check a catalog and put it in force: live within a minute, without a deployment.

    make catalog-put FILE=schema/catalog.json             the worker of `make run` (STATE_DIR as there)
    make catalog-put FILE=schema/catalog.json REMOTE=1    the deployed worker
    FORCE=1                                               though a price changes more than fivefold

The document is stored under the hash of its bytes, and only then does the
pointer move: a worker reads the whole of one catalog or the whole of another.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from decimal import Decimal
from pathlib import Path

import generate
import validate

ROOT = Path(__file__).parent.parent.parent
JUMP = 5  # the slip of a unit, rarely a price
BYTES_MAX = 4 << 20  # what the worker takes


def kv(*args, value=None):
    """One `wrangler kv key` call on the namespace in wrangler.toml; its output, or None where it failed."""
    where = (["--remote", "--preview", "false"] if os.environ.get("REMOTE")
             else ["--preview", "--local", "--persist-to", os.environ.get("STATE_DIR") or str(ROOT / ".state")])
    command = [str(ROOT / "tools" / "node"), str(ROOT / "node_modules/wrangler/bin/wrangler.js"),
               "kv", "key", *args, "--binding", "KV", *where]
    env = os.environ | {"WRANGLER_SEND_METRICS": "false", "WRANGLER_HIDE_BANNER": "true", "CI": "true"}
    if not os.environ.get("REMOTE"):
        env["CLOUDFLARE_CF_FETCH_ENABLED"] = "false"
    if value is not None:
        with tempfile.NamedTemporaryFile("wb") as file:
            file.write(value)
            file.flush()
            done = subprocess.run([*command, "--path", file.name], capture_output=True, text=True, env=env, cwd=ROOT)
    else:
        done = subprocess.run([*command, "--text"], capture_output=True, text=True, env=env, cwd=ROOT)
    if done.returncode != 0:
        if value is not None or "not found" not in (done.stdout + done.stderr).lower():
            sys.exit(f"wrangler kv key {' '.join(args)} failed:\n{done.stdout}{done.stderr}")
        return None
    return done.stdout


def in_force():
    """The catalog KV points at; the one in the repository, which is bundled, where it points at none."""
    pointer = (kv("get", "catalog/current") or "").strip()
    text = kv("get", f"catalog/{pointer}") if len(pointer) == 64 else None
    try:
        return json.loads(text)
    except (TypeError, ValueError):
        return json.loads(validate.CATALOG_FILE.read_text())


def jumps(old, new):
    """Every base price that changes by more than the factor: the guard the worker's own PUT has."""
    before = {(m["provider"], m["id"]): m for m in old["models"]}
    out = []
    for model in new["models"]:
        was = before.get((model["provider"], model["id"]), {})
        for name in ("input_usd_per_mtok", "output_usd_per_mtok"):
            if name in was and name in model:
                a, b = Decimal(was[name]), Decimal(model[name])
                if a > b * JUMP or b > a * JUMP:
                    out.append(f"{model['provider']}/{model['id']}: {name} {a} to {b}")
    return out


def main(args):
    if len(args) != 1:
        sys.exit(__doc__)
    data = Path(args[0]).read_bytes()
    if len(data) > BYTES_MAX:
        sys.exit(f"{args[0]}: more than {BYTES_MAX >> 20} MiB")
    try:
        new = json.loads(data)
    except ValueError as error:
        sys.exit(f"{args[0]} is no JSON: {error}")
    if found := validate.faults(new):
        sys.exit("\n".join([f"{args[0]} breaks {len(found)} rules:", *found[:20]]))
    old = in_force()
    print("\n".join(generate.change(old, new) or ["nothing changed"]))
    far = jumps(old, new)
    if far and not os.environ.get("FORCE"):
        sys.exit("\n".join(["These prices change more than fivefold; FORCE=1 if that is meant:", *far[:20]]))
    name = hashlib.sha256(data).hexdigest()
    kv("put", f"catalog/{name}", value=data)
    kv("put", "catalog/current", value=name.encode())
    where = "the deployed worker" if os.environ.get("REMOTE") else os.environ.get("STATE_DIR") or ".state"
    print(f"catalog {name} is in force within a minute ({where})")


if __name__ == "__main__":
    main(sys.argv[1:])

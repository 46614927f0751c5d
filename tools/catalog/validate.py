"""The rules a catalog must keep: the schema's words, and what no schema can say.

    python3 tools/catalog/validate.py [FILE]
"""

import json
import re
import sys
from decimal import Decimal
from pathlib import Path

SCHEMA_FILE = Path(__file__).parent.parent.parent / "schema" / "catalog.schema.json"
CATALOG_FILE = SCHEMA_FILE.with_name("catalog.json")
RATES = [f"{name}_usd_per_mtok" for name in ("input", "output", "cache_read", "cache_write", "cache_write_1h",
                                             "audio_input")]
CONDITIONS = ("above_prompt_tokens", "service_tier", "from", "until", "utc_hours", "weekdays")
KINDS = {"object": dict, "array": list, "string": str, "integer": int}


def errors(value, schema, defs, where="catalog"):
    """The few words of JSON Schema that ours uses; an unknown word raises KeyError."""
    if "$ref" in schema:
        yield from errors(value, defs[schema["$ref"].rsplit("/", 1)[1]], defs, where)
    for word, arg in schema.items():
        if word in ("$ref", "$schema", "$defs", "title", "description", "properties"):
            continue
        elif word == "type":
            if not isinstance(value, KINDS[arg]) or isinstance(value, bool):
                yield f"{where}: not of type {arg}"
                return
        elif word == "additionalProperties":
            yield from (f"{where}: unknown {k}" for k in value if k not in schema["properties"])
        elif word == "required":
            yield from (f"{where}: lacks {k}" for k in arg if k not in value)
        elif word == "items":
            for i, item in enumerate(value):
                yield from errors(item, arg, defs, f"{where}[{i}]")
        elif word == "oneOf":
            if sum(not list(errors(value, s, defs)) for s in arg) != 1:
                yield f"{where}: {value!r} fits none or several"
        elif not holds(word, arg, value, defs):
            yield f"{where}: {value!r} breaks {word} {arg!r}"
    if isinstance(value, dict):
        for key, sub in schema.get("properties", {}).items():
            if key in value:
                yield from errors(value[key], sub, defs, f"{where}.{key}")


def holds(word, arg, value, defs):
    return {
        "const": lambda: type(value) is type(arg) and value == arg,
        "enum": lambda: value in arg,
        "pattern": lambda: re.search(arg, value),
        "minimum": lambda: value >= arg,
        "maximum": lambda: value <= arg,
        "minItems": lambda: len(value) >= arg,
        "minLength": lambda: len(value) >= arg,
        "maxLength": lambda: len(value) <= arg,
        "uniqueItems": lambda: len(set(map(str, value))) == len(value),
        "contains": lambda: any(not list(errors(v, arg, defs)) for v in value),
    }[word]()


def faults_of_model(name, model, providers, ids):
    """What the schema cannot say of one row."""
    kind = model.get("kind", "chat")
    if model["provider"] not in providers:
        yield f"{name}: no such provider"
    needed = () if kind == "embedding" else ("output_usd_per_mtok", "max_output_tokens")
    yield from (f"{name}: lacks {k}" for k in needed if k not in model)
    if kind == "embedding":
        yield from (f"{name}: an embedding has no {k}" for k in ("output_usd_per_mtok", "rates") if k in model)
    if model.get("max_output_tokens", 0) > model["context_length"]:
        yield f"{name}: answers longer than its context"
    if "larger_context" in model and f"{model['provider']}/{model['larger_context']}" not in ids:
        yield f"{name}: larger_context is no model of its provider"
    for card in [model, *model.get("rates", [])]:
        if card is not model and not any(c in card for c in CONDITIONS):
            yield f"{name}: a rate without a condition"
        if card.get("from", "") >= card.get("until", "9"):
            yield f"{name}: a rate that is never in force"
        price = Decimal(card["input_usd_per_mtok"])
        if Decimal(card.get(RATES[2], price)) > price:
            yield f"{name}: a cached token costs more than a fresh one"
        if any(Decimal(card.get(write, price)) < price for write in RATES[3:5]):
            yield f"{name}: a token written to the cache costs less than a fresh one"


def faults(catalog):
    """Every breach of the rules, as sentences. An empty list is a good catalog."""
    schema = json.loads(SCHEMA_FILE.read_text())
    if found := list(errors(catalog, schema, schema["$defs"])):
        return found
    providers = [p["id"] for p in catalog["providers"]]
    names = [f"{m['provider']}/{m['id']}" for m in catalog["models"]]
    if providers != sorted(set(providers)):
        found.append("providers are not sorted, or one occurs twice")
    order = [(m["provider"], m["id"]) for m in catalog["models"]]
    if order != sorted(set(order)):
        found.append("models are not sorted, or one occurs twice")
    tables = {s["name"] for s in catalog["sources"]}
    for name, model in zip(names, catalog["models"]):
        found += faults_of_model(name, model, set(providers), set(names))
        found += [f"{name}: no such source: {s}" for s in model["sources"] if s not in tables]
    return found


def main(args):
    path = Path(args[0]) if args else CATALOG_FILE
    found = faults(json.loads(path.read_text()))
    for fault in found[:20]:
        print(fault, file=sys.stderr)
    if found:
        sys.exit(f"{path}: {len(found)} faults")


if __name__ == "__main__":
    main(sys.argv[1:])

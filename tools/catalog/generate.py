#!/usr/bin/env python3
"""Write schema/catalog.json from the reduced price tables in sources/.

    python3 tools/catalog/generate.py           write, and tell what changed
    python3 tools/catalog/generate.py --check   fail if the file on disk differs
    python3 tools/catalog/generate.py --why     also list what was left out, and why
    python3 tools/catalog/generate.py --counts  only print models per provider

The output depends on the files here alone: no clock, no network.
"""

import hashlib
import json
import re
import sys
from collections import Counter
from decimal import Decimal
from pathlib import Path

import tables
from agree import ORDER, agreeing, card_of, cliffs_of, in_proportion, near, tiers_of
from facts import (CONTEXT_MAX, created_of, dialect_of, efforts_of, hides_reasoning, input_of, kind_of,
                   limits_of, link_larger, quirks_of, supports_of)
from providers import (CHURN, EMBEDS, LEFT_OUT, ONLY_EMBEDS, PROVIDERS, ROSTER, SAME_GENAI, SAME_TABLES, SELLS_TIERS, TOO_OLD)

HERE = Path(__file__).parent
OWN = HERE / "own"
OUT = HERE.parent.parent / "schema" / "catalog.json"
# The worker names the catalog in every ledger entry, and shall not hash it whenever it starts.
ID = OUT.with_suffix(".sha256")

# "Today" for retirement dates and dated prices: the day the tables were copied.
AS_OF = "2026-11-22"

SOURCES = [
    {"name": "litellm", "date": "2026-11-22", "licence": "MIT"},
    {"name": "genai", "date": "2026-11-22", "licence": "MIT"},
    {"name": "pi", "date": "2026-11-10", "licence": "MIT"},
    {"name": "models.dev", "date": "2026-07-02", "licence": "MIT"},
    {"name": "portkey", "date": "2026-08-21", "licence": "MIT"},
]
PRICE_MAX = Decimal(1000)


# --- prices -------------------------------------------------------------------

def quotes_of(rows):
    quotes = {t: getattr(tables, t.replace(".", "_"))(row) for t, row in rows.items() if t != "genai"}
    if "genai" in rows:
        quotes["genai"] = tables.genai(rows["genai"], AS_OF)
    peaked = [q for t, q in sorted(quotes.items(), key=lambda kv: ORDER.index(kv[0])) if q.peak]
    if peaked:
        # A table without a clock states the peak: an upper bound. It confirms the peak, not the rest of the day.
        for quote in quotes.values():
            base, peak = quote.base, peaked[0].peak
            if not quote.peak and base.input and base.output \
                    and near(base.input, peak.input) and near(base.output, peak.output):
                quote.peak, quote.base = base, peaked[0].base
    return quotes


def price_text(value):
    return format(value.normalize(), "f")


def card_json(card, names=tables.NAMES):
    """A cache or audio price equal to the input's says nothing."""
    out = {}
    for name in names:
        value = card[name]
        if value is not None and (name in ("input", "output") or value != card["input"]):
            out[f"{name}_usd_per_mtok"] = price_text(value)
    return out


def dear_enough(card):
    """Cached input never costs more than fresh, and a write never less: such a figure is a slip."""
    out = dict(card)
    if out["cache_read"] is not None and out["cache_read"] > out["input"]:
        out["cache_read"] = None
    for name in ("cache_write", "cache_write_1h"):
        if out[name] is not None and out[name] < out["input"]:
            out[name] = None
    return out


def rates_of(provider, tables_, quotes, base, context):
    """The rows under conditions; the last that holds is in force. Or why they cannot be told."""
    cliffs, why = cliffs_of(tables_, quotes)
    if why:
        return None, why
    # No prompt can pass a bound at the context's end or beyond.
    cliffs = [(above, card) for above, card in cliffs
              if above < context and (card["input"], card["output"]) != (base["input"], base["output"])]
    cliffs = [(above, in_proportion(dear_enough(card), base)) for above, card in cliffs]
    out = [{"above_prompt_tokens": above} | card_json(card) for above, card in cliffs]
    for tier, above, card in tiers_of(quotes, base, cliffs) if provider in SELLS_TIERS else ():
        when = {"above_prompt_tokens": above} if above else {}
        out.append(when | {"service_tier": tier} | card_json(dear_enough(card)))
    dated = quotes["genai"].later if "genai" in quotes else {}
    for date, card in sorted(dated.items()):
        if cliffs:
            return None, "changes its price, and has another for long prompts"
        out.append({"from": date} | card_json(in_proportion(vars(card), base)))
    peaks = [t for t in tables_ if quotes[t].peak]
    if peaks:
        hours = [q.peak_hours for q in quotes.values() if q.peak_hours]
        if not hours or len(peaks) < 2:
            return None, "its peak is stated by one table alone, or without hours"
        when = {"utc_hours": list(hours[0])}
        if any(q.weekdays for q in quotes.values()):
            when["weekdays"] = True
        out.append(when | card_json(in_proportion(card_of(peaks, lambda t: quotes[t].peak), base)))
    return out, None


# --- the catalog --------------------------------------------------------------

def reason_left_out(provider, model_id, kind, rows, known):
    for owner, pattern, why in LEFT_OUT:
        if owner in ("*", provider) and pattern.search(model_id):
            return why
    if kind == "embedding" and provider not in EMBEDS or kind != "embedding" and provider in ONLY_EMBEDS:
        return "not served by this address"
    if kind == "completion" and provider not in ("azure", "openai"):
        return "not served by this address"
    lite, genai, dev = rows.get("litellm"), rows.get("genai"), rows.get("models.dev", {})
    if lite and lite.get("deprecation_date", "9") <= AS_OF:
        return "retired " + lite["deprecation_date"]
    if genai and genai.get("deprecated") or dev.get("status") == "deprecated":
        return "marked deprecated"
    if provider in ("openai", "azure") and not lite:
        return "no table says which endpoint serves it"
    # models.dev first: litellm counts a picture made by a tool as the model's own.
    answers = known.get("models.dev", {}).get("modalities", {}).get("output") or (lite or {}).get("supported_output_modalities")
    if kind == "chat" and any(word != "text" for word in answers or []):
        return "answers with more than text"
    if not lite and "pi" not in rows:
        return "only histories of prices list it: it may be gone"
    if kind == "chat" and provider in CHURN and "pi" not in rows and "genai" not in rows:
        return "not in the list of what this provider still serves"
    if created_of(model_id, known) and created_of(model_id, known) < TOO_OLD.get(provider, ""):
        return "of an older generation"
    if provider in ROSTER and not any(t in rows for t in ROSTER[provider]):
        return "not in the list of what this provider still serves"
    return None


def model_of(provider, model_id, rows, known=None):
    """The catalog's row, or why there is none. `known` has more rows to take facts, not prices, from."""
    known = known or rows
    kind = kind_of(model_id, rows)
    if why := reason_left_out(provider, model_id, kind, rows, known):
        return None, why
    quotes = quotes_of(rows)
    agreed, why = agreeing(quotes, kind != "embedding")
    if not agreed:
        return None, why
    if kind != "embedding" and any(q.reasoning and not near(Decimal(q.reasoning), q.base.output)
                                   for t, q in quotes.items() if t in agreed):
        return None, "reasoning has a price of its own"
    context, output = limits_of(provider, known)
    if not context or context > CONTEXT_MAX:
        return None, "no table knows its context length, or one is out of bounds"
    base = dear_enough(card_of(agreed, lambda t: quotes[t].base))
    rates, why = rates_of(provider, agreed, quotes, base, context)
    if why:
        return None, why
    if any(v and v > PRICE_MAX for v in base.values()):
        return None, "a price out of bounds"
    dialect = dialect_of(provider, model_id, known)
    out = {"provider": provider, "id": model_id} | facts_before(model_id, kind, dialect, rows)
    out["context_length"] = context
    names = tables.NAMES
    if kind == "embedding":
        names = ("input",)
    else:
        out["max_output_tokens"] = output
    kinds = input_of(provider, known, base["audio_input"])
    if "audio" not in kinds:
        base["audio_input"] = None
    out |= card_json(base, names)
    if rates and kind != "embedding":
        out["rates"] = rates
    out |= facts_after(provider, model_id, kind, dialect, known, kinds) | {"sources": agreed}
    if out["input"] == ["text"]:
        del out["input"]  # what a row that names none takes
    return out, None


def facts_before(model_id, kind, dialect, rows):
    out = {}
    if dialect:
        out["dialect"] = dialect
    if kind != "chat":
        out["kind"] = kind
    if created := created_of(model_id, rows):
        out["created"] = created
    if retires := rows.get("litellm", {}).get("deprecation_date"):
        out["retires"] = retires
    return out


def facts_after(provider, model_id, kind, dialect, rows, kinds):
    if kind != "chat":
        return {"input": ["text"], "supports": ["completions"] if kind == "completion" else []}
    supports = supports_of(provider, model_id, rows, kinds)
    quirks = quirks_of(provider, model_id, dialect, rows, supports)
    out = {"input": kinds, "supports": supports}
    if "reasoning" in supports and "no_reasoning_effort" not in quirks and (efforts := efforts_of(rows)):
        out["efforts"] = efforts
    if hides_reasoning(provider, model_id, supports):
        out["hidden_reasoning"] = True
    if quirks:
        out["quirks"] = quirks
    return out


def load():
    return {t: json.loads((HERE / "sources" / f"{t}.json").read_text(), parse_float=Decimal)
            for t in ORDER}


def with_kin(sources, provider, listed, model_id, rows):
    """More rows to take facts from: a dated snapshot can what the model it dates can,
    and Azure's models what OpenAI's can, of which the tables know more."""
    name = re.sub(r"-\d{4}-\d\d-\d\d$", "", model_id)
    known = {t: listed[t][name] for t in ("pi", "models.dev") if name in listed[t]} | rows
    if provider == "azure" and model_id in sources["pi"]["openai"]:
        known["pi"] = sources["pi"]["openai"][model_id]
    return known


def build(sources, left_out=None):
    models = []
    for provider in (p["id"] for p in PROVIDERS):
        key = SAME_TABLES.get(provider, provider)
        listed = {t: sources[t].get(key, {}) for t in ORDER if t != "genai"}
        histories = sources["genai"].get(SAME_GENAI.get(key, key), [])
        # genai is keyed by clauses, not by the ids the API takes.
        for model_id in sorted(set().union(*listed.values())):
            rows = {t: listed[t][model_id] for t in listed if model_id in listed[t]}
            if found := tables.find_genai(histories, model_id):
                rows["genai"] = found
            row, why = model_of(provider, model_id, rows, with_kin(sources, provider, listed, model_id, rows))
            if row:
                models.append(row)
            elif left_out is not None:
                left_out.append((provider, model_id, why))
    link_larger(models)
    return with_own({"version": 1, "sources": SOURCES, "providers": PROVIDERS, "models": models})


def with_own(catalog):
    """Adds the providers written by hand: one file of own/ each."""
    own = []
    for path in sorted(OWN.glob("*.json")):
        try:
            own.append(json.loads(path.read_text()))
        except ValueError as error:
            sys.exit(f"{path.name} is no JSON: {error}")
    return catalog | {
        "sources": catalog["sources"] + [o["source"] for o in own],
        "providers": sorted(catalog["providers"] + [o["provider"] for o in own], key=lambda p: p["id"]),
        "models": sorted(catalog["models"] + [
            {"provider": o["provider"]["id"], "sources": [o["source"]["name"]]} | m for o in own for m in o["models"]],
            key=lambda m: (m["provider"], m["id"])),
    }


MEMBERS = ("provider", "id", "dialect", "kind", "created", "retires", "context_length", "max_output_tokens",
           *(f"{name}_usd_per_mtok" for name in tables.NAMES), "request_usd", "rates", "input", "supports",
           "efforts", "larger_context", "hidden_reasoning", "quirks", "sources")


def render(catalog):
    """One source, provider or model per line: diffs read as what changed."""
    def lines(rows):
        return ",\n".join("  " + json.dumps(r, separators=(",", ":")) for r in rows)

    models = [{name: m[name] for name in MEMBERS if name in m} for m in catalog["models"]]
    parts = [f' "version": {catalog["version"]}']
    parts += [f' "{name}": [\n{lines(rows)}\n ]' for name, rows in (
        ("sources", catalog["sources"]), ("providers", catalog["providers"]), ("models", models))]
    return "{\n" + ",\n".join(parts) + "\n}\n"


def count_table(catalog):
    per = {p["id"]: Counter() for p in catalog["providers"]}
    for model in catalog["models"]:
        per[model["provider"]][model.get("kind", "chat")] += 1
    kinds = ("chat", "embedding")
    lines = ["| provider | chat | embedding |", "|---|---|---|"]
    lines += [f"| `{p}` | " + " | ".join(str(n[k] or "") for k in kinds) + " |" for p, n in per.items()]
    total = sum(per.values(), Counter())
    return "\n".join([*lines, f"| {len(per)} providers | " + " | ".join(str(total[k]) for k in kinds) + " |"])


def change(old, new):
    """What an editor of prices wants to see: models that came or went, and prices that moved."""
    def prices(model):
        words = [model.get(f"{name}_usd_per_mtok", "") for name in ("input", "output", "cache_read")]
        return "/".join(words) + "".join(" " + json.dumps(r, separators=(",", ":")) for r in model.get("rates", []))

    before, after = ({f"{m['provider']}/{m['id']}": m for m in c["models"]} for c in (old, new))
    out = [f"- {name}" for name in sorted(before.keys() - after.keys())]
    out += [f"+ {name} {prices(after[name])}" for name in sorted(after.keys() - before.keys())]
    for name in sorted(before.keys() & after.keys()):
        if prices(before[name]) != prices(after[name]):
            out.append(f"~ {name} {prices(before[name])} -> {prices(after[name])}")
        elif before[name] != after[name]:
            members = sorted(k for k in before[name] | after[name] if before[name].get(k) != after[name].get(k))
            out.append(f"~ {name} ({', '.join(members)})")
    old_rows, new_rows = ({p["id"]: p for p in c["providers"]} for c in (old, new))
    out += [f"~ provider {p}" for p in sorted(old_rows | new_rows) if old_rows.get(p) != new_rows.get(p)]
    return out


def main(args):
    left_out = []
    catalog = build(load(), left_out)
    text = render(catalog)
    digest = hashlib.sha256(text.encode()).hexdigest() + "\n"
    if "--why" in args:
        for provider, model_id, why in left_out:
            print(f"{provider}/{model_id}: {why}", file=sys.stderr)
    if "--counts" in args:
        print(count_table(catalog))
    elif "--check" in args:
        written = [path.read_text() if path.exists() else None for path in (OUT, ID)]
        if written != [text, digest]:
            sys.exit(f"{OUT.name} is stale: run python3 tools/catalog/generate.py")
    else:
        import validate  # it reads the schema, which nothing else here needs
        if faults := validate.faults(json.loads(text)):
            sys.exit("Nothing was written:\n" + "\n".join(faults))
        told = change(json.loads(OUT.read_text()), json.loads(text)) if OUT.exists() else []
        OUT.write_text(text)
        ID.write_text(digest)
        print("\n".join(told or ["nothing changed"]))


if __name__ == "__main__":
    main(sys.argv[1:])

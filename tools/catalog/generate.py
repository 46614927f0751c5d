#!/usr/bin/env python3
"""Write schema/catalog.json from the reduced price tables in sources/.

    python3 tools/catalog/generate.py           write
    python3 tools/catalog/generate.py --check   fail if the file on disk differs
    python3 tools/catalog/generate.py --why     also list what was left out, and why

The output depends on the files here alone: no clock, no network.
"""

import json
import re
import sys
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from providers import (CHURN, HIDES_REASONING, LEFT_OUT, MODEL_QUIRKS, NO_JSON_SCHEMA, PARALLEL_TOOLS,
                       PROVIDERS, TAKES_FILES, TAKES_PREFILL)

HERE = Path(__file__).parent
OUT = HERE.parent.parent / "schema" / "catalog.json"

# "Today" for retirement dates and dated prices: the day the tables were copied.
AS_OF = "2026-11-22"

SOURCES = [
    {"name": "litellm", "date": "2026-11-22", "licence": "MIT"},
    {"name": "genai", "date": "2026-11-22", "licence": "MIT"},
    {"name": "pi", "date": "2026-11-10", "licence": "MIT"},
    {"name": "models.dev", "date": "2026-07-02", "licence": "MIT"},
    {"name": "portkey", "date": "2026-08-21", "licence": "MIT"},
]
ORDER = [s["name"] for s in SOURCES]
# The others predate several price cuts: they may confirm a price, not contest it.
FRESH = ("litellm", "genai", "pi")

MILLION = Decimal(1_000_000)
PICO = Decimal("0.000001")  # one pico-dollar per token, in USD per million tokens
PRICE_MAX = Decimal(1000)
TOLERANCE = Decimal("0.005")
CONTEXT_MAX = 20_000_000


@dataclass
class Rates:
    """USD per million tokens; None where the table is silent."""

    input: Decimal = None
    output: Decimal = None
    cache_read: Decimal = None
    cache_write: Decimal = None
    cache_write_1h: Decimal = None

    def set(self, name, value):
        # A zero is a table's way to say "no such price", never a gift.
        if value:
            setattr(self, name, Decimal(value).quantize(PICO))


@dataclass
class Quote:
    base: Rates
    tiers: dict = field(default_factory=dict)  # prompt tokens above which -> Rates


# --- one reader per table -----------------------------------------------------

LITELLM_RATES = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cache_read",
    "cache_creation_input_token_cost": "cache_write",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h",
}
LITELLM_FIELD = re.compile(rf"({'|'.join(LITELLM_RATES)})(?:_above_(\d+)k_tokens)?")


def quote_litellm(row):
    quote = Quote(Rates())
    for key, value in row.items():
        if match := LITELLM_FIELD.fullmatch(key):
            name, above = LITELLM_RATES[match[1]], match[2]
            rates = quote.tiers.setdefault(int(above) * 1000, Rates()) if above else quote.base
            rates.set(name, value * MILLION)
    return quote


def quote_pi(row):
    def rates(cost):
        out = Rates()
        for theirs, ours in (("input", "input"), ("output", "output"),
                             ("cacheRead", "cache_read"), ("cacheWrite", "cache_write")):
            out.set(ours, cost.get(theirs))
        return out

    cost = row["cost"]
    return Quote(rates(cost), {t["inputTokensAbove"]: rates(t) for t in cost.get("tiers", [])})


def quote_models_dev(row):
    base = Rates()
    for name in ("input", "output", "cache_read", "cache_write"):
        base.set(name, row["cost"].get(name))
    return Quote(base)


def quote_portkey(row):
    base = Rates()
    for theirs, ours in (("request_token", "input"), ("response_token", "output"),
                         ("cache_read_input_token", "cache_read")):
        if theirs in row:
            base.set(ours, row[theirs] * MILLION / 100)  # US cents per token
    return Quote(base)


GENAI_RATES = {
    "input_mtok": "input", "output_mtok": "output", "cache_read_mtok": "cache_read",
    "cache_write_mtok": "cache_write", "cache_write_1h_mtok": "cache_write_1h",
}


def quote_genai(row):
    prices = row["prices"]
    if isinstance(prices, dict):
        return rates_genai(prices)
    dated, daily = None, []
    for entry in prices:  # of the entries in force, the last one wins
        constraint = entry.get("constraint") or {}
        if constraint.get("_t") == "TimeOfDateConstraint":
            daily.append(rates_genai(entry["prices"]))
        elif constraint.get("start_date", "") <= AS_OF:
            dated = rates_genai(entry["prices"])
    # Peak hours cost more; a table without a clock must not promise less.
    known = [q for q in [dated, *daily] if q and q.base.input and q.base.output]
    return max(known, key=lambda q: q.base.input + q.base.output, default=Quote(Rates()))


def rates_genai(prices):
    quote = Quote(Rates())
    for theirs, ours in GENAI_RATES.items():
        value = prices.get(theirs)
        if isinstance(value, dict):
            quote.base.set(ours, value["base"])
            for tier in value["tiers"]:
                quote.tiers.setdefault(tier["start"], Rates()).set(ours, tier["price"])
        else:
            quote.base.set(ours, value)
    return quote


def clause_holds(clause, text):
    kind = clause["_t"]
    if kind == "ClauseOr":
        return any(clause_holds(c, text) for c in clause["or_"])
    if kind == "ClauseAnd":
        return all(clause_holds(c, text) for c in clause["and_"])
    if kind == "ClauseEquals":
        return text == clause["equals"].lower()
    if kind == "ClauseStartsWith":
        return text.startswith(clause["starts_with"].lower())
    if kind == "ClauseEndsWith":
        return text.endswith(clause["ends_with"].lower())
    if kind == "ClauseContains":
        return clause["contains"].lower() in text
    if kind == "ClauseRegex":
        return re.search(clause["regex"], text) is not None
    raise ValueError(f"unknown clause {kind}")


def find_genai(rows, model_id):
    for text in (model_id.lower(), model_id.lower().rsplit("/", 1)[-1]):
        for row in rows:
            if clause_holds(row["match"], text):
                return row
    return None


READERS = {"litellm": quote_litellm, "genai": quote_genai, "pi": quote_pi,
           "models.dev": quote_models_dev, "portkey": quote_portkey}


# --- agreement ----------------------------------------------------------------

def near(a, b):
    return abs(a - b) <= TOLERANCE * max(a, b)


def agreeing(quotes):
    """The tables that state one common price, or a reason why there are none."""
    priced = {t: q for t, q in quotes.items() if q.base.input and q.base.output}
    fresh = [t for t in FRESH if t in priced]
    if not fresh:
        return None, "no fresh table prices it"
    lead = priced[fresh[0]].base
    group = [t for t in ORDER if t in priced
             and near(priced[t].base.input, lead.input)
             and near(priced[t].base.output, lead.output)]
    if any(t not in group for t in fresh):
        return None, "fresh tables conflict"
    if len(group) < 2:
        return None, "only one table states this price"
    if len(group) < len(priced) and len(fresh) < 2:
        return None, "an older table conflicts with the only fresh one"
    return group, None


def common(values):
    """The most often stated value; the freshest table breaks a tie."""
    values = [v for v in values if v is not None]
    return Counter(values).most_common(1)[0][0] if values else None


def rates_of(tables, pick):
    """One card out of the agreeing tables' cards. A discount for cached input
    counts if a fresh table or two others state it, else cached is plain input."""
    card = {name: common([getattr(pick(t), name) for t in tables])
            for name in ("input", "output", "cache_write", "cache_write_1h")}
    reads = {t: pick(t).cache_read for t in tables if pick(t).cache_read is not None}
    sure = len(reads) >= 2 or any(t in FRESH for t in reads)
    card["cache_read"] = common(reads.values()) if sure else card["input"]
    return card


def tiers_of(tables, quotes):
    tiered = [t for t in tables if quotes[t].tiers]
    if not tiered:
        return []
    # xAI's bound is inclusive ("at or above 200k"): one table says so with
    # 199999, the others with 200000. The lower bound never bills too little.
    starts = [sorted(quotes[t].tiers) for t in tiered]
    if any(len(s) != len(starts[0]) or abs(a - b) > 1 for s in starts for a, b in zip(s, starts[0])):
        raise ValueError(f"tier bounds differ: {dict(zip(tiered, starts))}")
    return [(min(s[i] for s in starts),
             rates_of(tiered, lambda t, i=i: quotes[t].tiers[sorted(quotes[t].tiers)[i]]))
            for i in range(len(starts[0]))]


def price_text(value):
    return format(value.normalize(), "f")


def card_json(card):
    out = {f"{name}_usd_per_mtok": price_text(card[name]) for name in ("input", "output", "cache_read")}
    for name in ("cache_write", "cache_write_1h"):
        if card[name] is not None:
            out[f"{name}_usd_per_mtok"] = price_text(card[name])
    return out


# --- everything but the price -------------------------------------------------

def limits_of(provider, rows):
    """Context (prompt and answer together) and longest answer."""
    lite, dev, pi = rows.get("litellm", {}), rows.get("models.dev", {}), rows.get("pi", {})
    context = dev.get("limit", {}).get("context")
    if not context and lite.get("max_input_tokens"):
        context = lite["max_input_tokens"]
        # For its newer models OpenAI, and so litellm, states the prompt alone.
        if provider == "openai" and context in (272_000, 922_000):
            context += lite.get("max_output_tokens", 0)
    context = context or pi.get("contextWindow") or rows.get("genai", {}).get("context_window")
    if not context:
        return None, None
    stated = [lite.get("max_output_tokens"), dev.get("limit", {}).get("output"), pi.get("maxTokens")]
    # A table that gives the whole context does not know better: ask the next.
    output = next((o for o in stated if o and o < context), context)
    return int(context), int(output)


def created_of(model_id, rows):
    date = rows.get("models.dev", {}).get("release_date", "")
    month = re.search(r"-(\d\d)(\d\d)$", model_id)  # as in mistral-large-2512
    if len(date) == 10 and not (month and date[2:7] != "-".join(month.groups())):
        return date
    if match := re.search(r"(20\d\d)-?(\d\d)-?(\d\d)$", model_id):
        return "-".join(match.groups())
    return None


def input_of(provider, rows):
    lite, dev, pi = rows.get("litellm", {}), rows.get("models.dev", {}), rows.get("pi", {})
    modalities = dev.get("modalities", {}).get("input", [])
    kinds = ["text"]
    if lite.get("supports_vision") or "image" in modalities or "image" in pi.get("input", []):
        kinds.append("image")
    # Only where a spoken token costs what a written one does.
    audio = lite.get("input_cost_per_audio_token") or lite.get("input_cost_per_token")
    if (lite.get("supports_audio_input") and audio == lite.get("input_cost_per_token")
            and "input_audio_mtok" not in json.dumps(rows.get("genai", {}), default=str)):
        kinds.append("audio")
    if provider in TAKES_FILES and (lite.get("supports_pdf_input") or "pdf" in modalities):
        kinds.append("file")
    return kinds


def supports_of(provider, model_id, rows, kinds):
    lite, dev, pi = rows.get("litellm", {}), rows.get("models.dev", {}), rows.get("pi", {})
    tools = lite.get("supports_function_calling") or dev.get("tool_call") or "pi" in rows
    words = {
        "json_schema": provider not in NO_JSON_SCHEMA
        and (lite.get("supports_response_schema") or dev.get("structured_output")),
        "parallel_tools": tools and (lite.get("supports_parallel_function_calling")
                                     or provider in PARALLEL_TOOLS),
        "prefill": provider in TAKES_PREFILL and lite.get("supports_assistant_prefill"),
        "reasoning": "non-reasoning" not in model_id
        and (lite.get("supports_reasoning") or dev.get("reasoning") or pi.get("reasoning")),
        "tools": tools,
        "vision": "image" in kinds,
    }
    return sorted(word for word, yes in words.items() if yes)


def quirks_of(provider, model_id, rows, supports):
    lite, dev, pi = rows.get("litellm", {}), rows.get("models.dev", {}), rows.get("pi", {})
    compat = pi.get("compat", {})
    reasoning = "reasoning" in supports
    words = {
        "adaptive_thinking": provider == "anthropic"
        and (compat.get("forceAdaptiveThinking") or lite.get("supports_adaptive_thinking")),
        "no_forced_tool": lite.get("supports_forced_tool_use") is False,
        "no_reasoning_effort": reasoning and compat.get("supportsReasoningEffort") is False,
        "no_sampling": lite.get("supports_sampling_params") is False
        or compat.get("supportsTemperature") is False or dev.get("temperature") is False,
        "reasoning_replay": compat.get("requiresReasoningContentOnAssistantMessages"),
    }
    found = {word for word, yes in words.items() if yes}
    for owner, pattern, needs_reasoning, quirks in MODEL_QUIRKS:
        if owner == provider and pattern.search(model_id) and (reasoning or not needs_reasoning):
            found.update(quirks)
    return sorted(found)


# --- the catalog --------------------------------------------------------------

def reason_left_out(provider, model_id, rows):
    for owner, pattern, why in LEFT_OUT:
        if owner in ("*", provider) and pattern.search(model_id):
            return why
    lite, genai, dev = rows.get("litellm"), rows.get("genai"), rows.get("models.dev", {})
    if lite and lite.get("deprecation_date", "9") <= AS_OF:
        return "retired " + lite["deprecation_date"]
    if genai and genai.get("deprecated") or dev.get("status") == "deprecated":
        return "marked deprecated"
    if provider == "openai":
        endpoints = (lite or {}).get("supported_endpoints") or ["/v1/chat/completions"]
        if not lite or lite.get("mode") != "chat" or "/v1/chat/completions" not in endpoints:
            return "not served by chat completions"
    # models.dev first: litellm counts a picture made by a tool as the model's own.
    answers = dev.get("modalities", {}).get("output") or (lite or {}).get("supported_output_modalities")
    if any(kind != "text" for kind in answers or []):
        return "answers with more than text"
    if lite and lite.get("output_cost_per_reasoning_token") not in (
            None, lite.get("output_cost_per_token")):
        return "reasoning has a price of its own"
    if dev and not lite:
        return "an older table lists it, the widest fresh one no longer does"
    if provider in CHURN and "pi" not in rows:
        return "not in the list of what this provider still serves"
    if sum(t in rows for t in FRESH) < 2:
        return "only one fresh table lists it"
    return None


def model_of(provider, model_id, rows):
    """The catalog's row, or why there is none."""
    if why := reason_left_out(provider, model_id, rows):
        return None, why
    quotes = {t: READERS[t](row) for t, row in rows.items()}
    tables, why = agreeing(quotes)
    if not tables:
        return None, why
    context, output = limits_of(provider, rows)
    if not context or context > CONTEXT_MAX:
        return None, "no table knows its context length, or one is out of bounds"
    base = rates_of(tables, lambda t: quotes[t].base)
    # No prompt can pass a bound at the context's end or beyond.
    tiers = [(above, card) for above, card in tiers_of(tables, quotes) if above < context]
    if any(v and v > PRICE_MAX for card in [base, *(c for _, c in tiers)] for v in card.values()):
        return None, "a price out of bounds"
    kinds = input_of(provider, rows)
    supports = supports_of(provider, model_id, rows, kinds)
    quirks = quirks_of(provider, model_id, rows, supports)
    row = {"provider": provider, "id": model_id}
    if created := created_of(model_id, rows):
        row["created"] = created
    row |= {"context_length": context, "max_output_tokens": output} | card_json(base)
    if tiers:
        row["tiers"] = [{"above_prompt_tokens": above} | card_json(card) for above, card in tiers]
    row |= {"input": kinds, "supports": supports}
    if provider in HIDES_REASONING and "reasoning" in supports:
        row["hidden_reasoning"] = True
    if quirks:
        row["quirks"] = quirks
    row["sources"] = tables
    return row, None


def load():
    return {t: json.loads((HERE / "sources" / f"{t}.json").read_text(), parse_float=Decimal)
            for t in ORDER}


def build(tables, left_out=None):
    models = []
    for provider in (p["id"] for p in PROVIDERS):
        # These two are keyed by the ids the API takes, and are fresh.
        ids = set(tables["litellm"][provider]) | set(tables["pi"][provider])
        for model_id in sorted(ids):
            rows = {t: tables[t][provider][model_id] for t in ORDER
                    if t != "genai" and model_id in tables[t][provider]}
            if found := find_genai(tables["genai"][provider], model_id):
                rows["genai"] = found
            row, why = model_of(provider, model_id, rows)
            if row:
                models.append(row)
            elif left_out is not None:
                left_out.append((provider, model_id, why))
    return {"version": 1, "sources": SOURCES, "providers": PROVIDERS, "models": models}


def render(catalog):
    """One source, provider or model per line: diffs read as what changed."""
    def lines(rows):
        return ",\n".join("  " + json.dumps(r, separators=(",", ":")) for r in rows)

    parts = [f' "version": {catalog["version"]}']
    parts += [f' "{name}": [\n{lines(catalog[name])}\n ]' for name in ("sources", "providers", "models")]
    return "{\n" + ",\n".join(parts) + "\n}\n"


def main(args):
    left_out = []
    text = render(build(load(), left_out))
    if "--why" in args:
        for provider, model_id, why in left_out:
            print(f"{provider}/{model_id}: {why}", file=sys.stderr)
    if "--check" in args:
        if not OUT.exists() or OUT.read_text() != text:
            sys.exit(f"{OUT.name} is stale: run python3 tools/catalog/generate.py")
    else:
        OUT.write_text(text)


if __name__ == "__main__":
    main(sys.argv[1:])

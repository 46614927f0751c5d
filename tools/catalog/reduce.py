#!/usr/bin/env python3
"""Cut the upstream price tables down to what generate.py reads.

    python3 tools/catalog/reduce.py FOLDER

FOLDER holds the full tables under the file names below (where each comes from
is in sources/README.md). Units and field names stay those of the upstream
table, so a reduced row can be compared with its origin by eye.
"""

import json
import re
import sys
from pathlib import Path

OUT = Path(__file__).parent / "sources"

# Our provider id -> the name each table uses.
NAMES = {
    "litellm": {
        "openai": "openai", "anthropic": "anthropic", "google": "gemini", "deepseek": "deepseek",
        "xai": "xai", "mistral": "mistral", "groq": "groq", "together": "together_ai",
        "fireworks": "fireworks_ai", "cerebras": "cerebras", "moonshotai": "moonshot", "zai": "zai",
    },
    "genai": {
        "openai": "openai", "anthropic": "anthropic", "google": "google", "deepseek": "deepseek",
        "xai": "x-ai", "mistral": "mistral", "groq": "groq", "together": "together",
        "fireworks": "fireworks", "cerebras": "cerebras", "moonshotai": "moonshotai", "zai": "zai",
    },
    "pi": {p: p for p in (
        "openai", "anthropic", "google", "deepseek", "xai", "mistral", "groq", "together",
        "fireworks", "cerebras", "moonshotai", "zai")},
    "models.dev": {
        "openai": "openai", "anthropic": "anthropic", "google": "google", "deepseek": "deepseek",
        "xai": "xai", "mistral": "mistral", "groq": "groq", "together": "togetherai",
        "fireworks": "fireworks-ai", "cerebras": "cerebras", "moonshotai": "moonshotai", "zai": "zai",
    },
    "portkey": {
        "openai": "openai", "anthropic": "anthropic", "google": "google", "deepseek": "deepseek",
        "xai": "x-ai", "mistral": "mistral-ai", "groq": "groq", "together": "together-ai",
        "fireworks": "fireworks-ai", "cerebras": "cerebras", "moonshotai": "moonshot", "zai": "z-ai",
    },
}

LITELLM_FIELD = re.compile(
    r"(input_cost_per_token|output_cost_per_token|cache_read_input_token_cost"
    r"|cache_creation_input_token_cost(_above_1hr)?)(_above_\d+k_tokens)?"
    r"|input_cost_per_(audio|image)_token|input_cost_per_image|output_cost_per_reasoning_token"
    r"|mode|deprecation_date|max_input_tokens|max_output_tokens"
    r"|supported_endpoints|supported_output_modalities"
    r"|supports_(function_calling|parallel_function_calling|vision|response_schema|reasoning"
    r"|assistant_prefill|pdf_input|audio_input|adaptive_thinking|sampling_params|forced_tool_use)"
)
PI_COMPAT = (
    "forceAdaptiveThinking", "supportsTemperature", "supportsReasoningEffort",
    "requiresReasoningContentOnAssistantMessages", "supportsDeveloperRole", "maxTokensField",
    "supportsStore",
)


def pick(row, names):
    return {name: row[name] for name in names if name in row}


def litellm(table):
    out = {}
    for ours, theirs in NAMES["litellm"].items():
        rows = {}
        for key, row in table.items():
            if row.get("litellm_provider") != theirs or row.get("mode") not in ("chat", "responses"):
                continue
            rows[key.removeprefix(theirs + "/")] = {
                k: v for k, v in row.items() if LITELLM_FIELD.fullmatch(k)}
        out[ours] = rows
    return out


def genai(table):
    by_id = {p["id"]: p for p in table}
    return {
        ours: [pick(m, ("id", "match", "prices", "context_window", "deprecated"))
               for m in by_id[theirs]["models"]]
        for ours, theirs in NAMES["genai"].items()
    }


def pi(table):
    out = {}
    for ours, theirs in NAMES["pi"].items():
        out[ours] = {}
        for key, row in table[theirs].items():
            kept = pick(row, ("reasoning", "input", "cost", "contextWindow", "maxTokens"))
            kept["compat"] = pick(row.get("compat", {}), PI_COMPAT)
            out[ours][key] = kept
    return out


def models_dev(table):
    names = ("release_date", "status", "reasoning", "tool_call", "structured_output",
             "temperature", "attachment", "limit", "modalities")
    out = {}
    for ours, theirs in NAMES["models.dev"].items():
        out[ours] = {}
        for key, row in table[theirs]["models"].items():
            kept = pick(row, names)
            kept["cost"] = pick(row.get("cost", {}), ("input", "output", "cache_read", "cache_write"))
            out[ours][key] = kept
    return out


def portkey(table):
    out = {}
    for ours, theirs in NAMES["portkey"].items():
        out[ours] = {}
        for key, row in table.get(theirs, {}).items():
            paid = (row.get("pricing_config") or {}).get("pay_as_you_go") or {}
            kept = {name: paid[name]["price"] for name in
                    ("request_token", "response_token", "cache_read_input_token")
                    if paid.get(name, {}).get("price") is not None}
            if "request_token" in kept and "response_token" in kept:
                out[ours][key] = kept
    return out


TABLES = {
    "litellm": ("litellm_model_prices_1.109.1.json", litellm),
    "genai": ("genai_prices_0.2.3.json", genai),
    "pi": ("pi_ai_models_1.5.2.json", pi),
    "models.dev": ("models_dev.json", models_dev),
    "portkey": ("portkey_pricing.json", portkey),
}


def write(path, by_provider):
    """One row per line, sorted: a new upstream snapshot shows as a readable diff."""
    blocks = []
    for provider in sorted(by_provider):
        rows = by_provider[provider]
        if isinstance(rows, dict):
            lines = [f"  {json.dumps(k)}: {dump(rows[k])}" for k in sorted(rows)]
            opening, closing = "{", "}"
        else:  # genai: the first row whose clause matches wins, so order is meaning
            lines = ["  " + dump(row) for row in rows]
            opening, closing = "[", "]"
        blocks.append(f" {json.dumps(provider)}: {opening}\n" + ",\n".join(lines) + f"\n {closing}")
    path.write_text("{\n" + ",\n".join(blocks) + "\n}\n")


def dump(row):
    return json.dumps(row, sort_keys=True, separators=(",", ":"))


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = Path(sys.argv[1])
    for name, (file, cut) in TABLES.items():
        write(OUT / f"{name}.json", cut(json.loads((folder / file).read_text())))


if __name__ == "__main__":
    main()

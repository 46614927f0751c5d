#!/usr/bin/env python3
"""Cut the upstream price tables down to what the generator reads.

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

# Our provider id -> the name each table uses. litellm: (providers, key prefix).
NAMES = {
    "alibaba": {"litellm": (["dashscope"], "dashscope/"), "models.dev": "alibaba", "portkey": "dashscope"},
    "anthropic": {"litellm": (["anthropic"], ""), "genai": "anthropic", "pi": "anthropic",
                  "models.dev": "anthropic", "portkey": "anthropic"},
    "azure": {"litellm": (["azure"], "azure/"), "genai": "azure", "pi": "azure",
              "models.dev": "azure", "portkey": "azure-openai"},
    "baseten": {"litellm": (["baseten"], "baseten/"), "genai": "baseten", "pi": "baseten",
                "models.dev": "baseten"},
    "bedrock": {"litellm": (["bedrock", "bedrock_converse"], ""), "genai": "aws", "pi": "amazon-bedrock",
                "models.dev": "amazon-bedrock", "portkey": "bedrock"},
    "cerebras": {"litellm": (["cerebras"], "cerebras/"), "genai": "cerebras", "pi": "cerebras",
                 "models.dev": "cerebras", "portkey": "cerebras"},
    "cloudflare": {"litellm": (["cloudflare"], "cloudflare/"), "genai": "cloudflare",
                   "pi": "cloudflare-workers-ai", "models.dev": "cloudflare-workers-ai",
                   "portkey": "workers-ai"},
    "cohere": {"litellm": (["cohere_chat", "cohere"], "cohere/"), "genai": "cohere", "models.dev": "cohere",
               "portkey": "cohere"},
    "deepinfra": {"litellm": (["deepinfra"], "deepinfra/"), "models.dev": "deepinfra", "portkey": "deepinfra"},
    "deepseek": {"litellm": (["deepseek"], "deepseek/"), "genai": "deepseek", "pi": "deepseek",
                 "models.dev": "deepseek", "portkey": "deepseek"},
    "fireworks": {"litellm": (["fireworks_ai", "fireworks_ai-embedding-models"], "fireworks_ai/"),
                  "genai": "fireworks", "pi": "fireworks", "models.dev": "fireworks-ai",
                  "portkey": "fireworks-ai"},
    "google": {"litellm": (["gemini"], "gemini/"), "genai": "google", "pi": "google",
               "models.dev": "google", "portkey": "google"},
    "groq": {"litellm": (["groq"], "groq/"), "genai": "groq", "pi": "groq", "models.dev": "groq",
             "portkey": "groq"},
    "meta": {"litellm": (["meta"], "meta/"), "genai": "meta", "pi": "meta"},
    "minimax": {"litellm": (["minimax"], "minimax/"), "genai": "minimax", "pi": "minimax",
                "models.dev": "minimax", "portkey": "minimax"},
    "mistral": {"litellm": (["mistral"], "mistral/"), "genai": "mistral", "pi": "mistral",
                "models.dev": "mistral", "portkey": "mistral-ai"},
    "moonshotai": {"litellm": (["moonshot"], "moonshot/"), "genai": "moonshotai", "pi": "moonshotai",
                   "models.dev": "moonshotai", "portkey": "moonshot"},
    "nebius": {"litellm": (["nebius"], "nebius/"), "models.dev": "nebius", "portkey": "nebius"},
    "novita": {"litellm": (["novita"], "novita/"), "genai": "novita", "models.dev": "novita-ai",
               "portkey": "novita-ai"},
    "openai": {"litellm": (["openai", "text-completion-openai"], ""), "genai": "openai", "pi": "openai",
               "models.dev": "openai", "portkey": "openai"},
    "openrouter": {"genai": "openrouter", "pi": "openrouter", "models.dev": "openrouter",
                   "portkey": "openrouter"},
    "perplexity": {"litellm": (["perplexity"], "perplexity/"), "genai": "perplexity",
                   "models.dev": "perplexity-agent"},
    "together": {"litellm": (["together_ai"], "together_ai/"), "genai": "together", "pi": "together",
                 "models.dev": "togetherai", "portkey": "together-ai"},
    "vertex": {"litellm": (["vertex_ai-language-models"], "vertex_ai/"), "genai": "google",
               "pi": "google-vertex", "models.dev": "google-vertex", "portkey": "vertex-ai"},
    "vertex-anthropic": {"litellm": (["vertex_ai-anthropic_models"], "vertex_ai/"),
                         "models.dev": "google-vertex-anthropic", "portkey": "vertex-ai"},
    "xai": {"litellm": (["xai"], "xai/"), "genai": "x-ai", "pi": "xai", "models.dev": "xai", "portkey": "x-ai"},
    "xiaomi": {"litellm": (["xiaomi_mimo"], "xiaomi_mimo/"), "pi": "xiaomi", "models.dev": "xiaomi"},
    "zai": {"litellm": (["zai"], "zai/"), "genai": "zai", "pi": "zai", "models.dev": "zai", "portkey": "z-ai"},
}

LITELLM_FIELD = re.compile(
    r"(input_cost_per_token|output_cost_per_token|cache_read_input_token_cost"
    r"|cache_creation_input_token_cost(_above_1hr)?)(_above_\d+k_tokens)?(_flex|_priority)?"
    r"|input_cost_per_(audio|image)_token|input_cost_per_image|output_cost_per_reasoning_token"
    r"|off_peak_pricing|tiered_pricing"
    r"|mode|deprecation_date|max_input_tokens|max_output_tokens"
    r"|supported_endpoints|supported_output_modalities"
    r"|supports_(function_calling|parallel_function_calling|vision|response_schema|reasoning"
    r"|assistant_prefill|pdf_input|audio_input|video_input|adaptive_thinking|sampling_params|forced_tool_use"
    r"|(none|minimal|low|xhigh|max)_reasoning_effort)"
)
MODES = ("chat", "responses", "embedding", "completion")
PI_APIS = ("openai-completions", "openai-responses", "azure-openai-responses", "anthropic-messages",
           "google-generative-ai", "google-vertex", "bedrock-converse-stream", "mistral-conversations")
PI_COMPAT = (
    "forceAdaptiveThinking", "supportsTemperature", "supportsReasoningEffort",
    "requiresReasoningContentOnAssistantMessages",
)


def pick(row, names):
    return {name: row[name] for name in names if name in row}


def named(table):
    return ((ours, names[table]) for ours, names in NAMES.items() if table in names)


def bare(key):
    # Vertex: the name alone means the default version, which two tables spell out.
    return key.removesuffix("@default")


def litellm(table):
    out = {}
    for ours, (theirs, prefix) in named("litellm"):
        rows = {}
        for key, row in table.items():
            if row.get("litellm_provider") not in theirs or row.get("mode") not in MODES:
                continue
            # Regions and deployment kinds of a cloud are not model names.
            if ours in ("azure", "bedrock") and "/" in key.removeprefix(prefix):
                continue
            rows[bare(key.removeprefix(prefix))] = {k: v for k, v in row.items() if LITELLM_FIELD.fullmatch(k)}
        out[ours] = rows
    return out


def genai(table):
    by_id = {p["id"]: p for p in table}
    out = {}
    for ours, theirs in named("genai"):
        if ours == "vertex":
            continue  # Google's rows hold for both its fronts
        out[ours] = []
        for row in by_id[theirs]["models"]:
            kept = pick(row, ("id", "match", "prices", "context_window", "deprecated"))
            if ours == "openai":
                kept["tiers"] = {v["when"]["service_tier"]: v["prices"] for v in row.get("price_variants") or []
                                 if v["when"].get("service_tier") in ("flex", "priority")}
            out[ours].append(kept)
    return out


def pi(table):
    out = {}
    for ours, theirs in named("pi"):
        out[ours] = {}
        for key, row in table[theirs].items():
            if row["api"] in PI_APIS and row.get("type", "chat") == "chat":
                kept = pick(row, ("reasoning", "input", "cost", "contextWindow", "maxTokens", "thinkingLevelMap"))
                kept["compat"] = pick(row.get("compat", {}), PI_COMPAT)
                out[ours][key] = kept
    return out


def models_dev(table):
    names = ("release_date", "status", "reasoning", "tool_call", "structured_output",
             "temperature", "limit", "modalities")
    costs = ("input", "output", "cache_read", "cache_write", "reasoning", "tiers", "input_audio")
    out = {}
    for ours, theirs in named("models.dev"):
        out[ours] = {}
        for key, row in table[theirs]["models"].items():
            kept = pick(row, names)
            kept["cost"] = pick(row.get("cost", {}), costs)
            efforts = [o["values"] for o in row.get("reasoning_options", []) if o["type"] == "effort"]
            if efforts:
                kept["efforts"] = efforts[0]
            out[ours][bare(key)] = kept
    return out


def portkey(table):
    names = ("request_token", "response_token", "cache_read_input_token", "reasoning_token")
    out = {}
    for ours, theirs in named("portkey"):
        out[ours] = {}
        for key, row in table.get(theirs, {}).items():
            paid = (row.get("pricing_config") or {}).get("pay_as_you_go") or {}
            kept = {name: paid[name]["price"] for name in names if paid.get(name, {}).get("price") is not None}
            if kept.get("request_token"):
                out[ours][bare(key)] = kept
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

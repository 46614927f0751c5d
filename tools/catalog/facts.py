"""What a catalog row says beside its price: limits, abilities, deviations."""

import re

from providers import (HIDES_REASONING, MODEL_QUIRKS, NO_JSON_SCHEMA, PARALLEL_TOOLS, TAKES_COMPLETIONS,
                       TAKES_FILES, TAKES_PREFILL, TAKES_SOUND)

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
CONTEXT_MAX = 20_000_000


def kind_of(model_id, rows):
    mode = rows.get("litellm", {}).get("mode")
    if mode in ("embedding", "completion"):
        return mode
    return "embedding" if "embed" in model_id else "chat"


def dialect_of(provider, model_id, rows):
    """The dialect of a model that its provider's default does not reach."""
    lite = rows.get("litellm", {})
    if provider not in ("openai", "azure", "xai", "meta"):
        return None
    endpoints = lite.get("supported_endpoints") or []
    if lite.get("mode") == "responses" or (endpoints and "/v1/chat/completions" not in endpoints):
        return "openai_responses"
    # Chat completions refuses tools beside reasoning: a model that cannot but reason has tools on Responses alone.
    efforts = efforts_of(rows)
    if efforts and "none" not in efforts and "tools_without_reasoning" in listed_quirks(provider, model_id, True):
        return "openai_responses"
    return None


def limits_of(provider, rows):
    """Context (prompt and answer together) and longest answer."""
    lite, dev, pi = rows.get("litellm", {}), rows.get("models.dev", {}), rows.get("pi", {})
    context = (dev.get("limit", {}).get("context") or lite.get("max_input_tokens") or pi.get("contextWindow")
               or rows.get("genai", {}).get("context_window"))
    if not context:
        return None, None
    # For its newer models OpenAI, and so some tables, states the prompt alone.
    if provider in ("openai", "azure", "bedrock") and context in (272_000, 922_000):
        context += 128_000
    stated = [lite.get("max_output_tokens"), dev.get("limit", {}).get("output"), pi.get("maxTokens")]
    # A table that gives the whole context does not know better: ask the next.
    output = next((o for o in stated if o and o < context), context)
    return int(context), int(output)


def created_of(model_id, rows):
    date = rows.get("models.dev", {}).get("release_date", "")
    month = re.search(r"-(\d\d)(\d\d)$", model_id)  # as in mistral-large-2512
    if len(date) == 10 and not (month and date[2:7] != "-".join(month.groups())):
        return date
    if match := re.search(r"(20\d\d)-?(0[1-9]|1[0-2])-?([0-2]\d|3[01])(?!\d)", model_id):
        return "-".join(match.groups())
    return None


def input_of(provider, rows, audio_price):
    lite, dev, pi = rows.get("litellm", {}), rows.get("models.dev", {}), rows.get("pi", {})
    modalities = dev.get("modalities", {}).get("input", [])
    kinds = ["text"]
    if lite.get("supports_vision") or "image" in modalities or "image" in pi.get("input", []):
        kinds.append("image")
    if provider in TAKES_SOUND:
        if lite.get("supports_audio_input") or "audio" in modalities or audio_price:
            kinds.append("audio")
        if lite.get("supports_video_input") or "video" in modalities:
            kinds.append("video")
    if provider in TAKES_FILES and (lite.get("supports_pdf_input") or "pdf" in modalities):
        kinds.append("file")
    return kinds


def is_claude(provider, model_id):
    return provider in ("anthropic", "vertex-anthropic") or provider == "bedrock" and "anthropic." in model_id


def supports_of(provider, model_id, rows, kinds):
    lite, dev, pi = rows.get("litellm", {}), rows.get("models.dev", {}), rows.get("pi", {})
    tools = lite.get("supports_function_calling") or dev.get("tool_call") or "pi" in rows
    claude = is_claude(provider, model_id)
    words = {
        "completions": provider in TAKES_COMPLETIONS,
        "json_schema": provider not in NO_JSON_SCHEMA
        and (lite.get("supports_response_schema") or dev.get("structured_output")),
        "parallel_tools": tools and (lite.get("supports_parallel_function_calling")
                                     or provider in PARALLEL_TOOLS or claude),
        "prefill": (provider in TAKES_PREFILL or claude) and lite.get("supports_assistant_prefill"),
        "reasoning": "non-reasoning" not in model_id
        and (lite.get("supports_reasoning") or dev.get("reasoning") or pi.get("reasoning")),
        "tools": tools,
        "vision": "image" in kinds,
    }
    return sorted(word for word, yes in words.items() if yes)


def efforts_of(rows):
    """pi is fresh and says it level by level; models.dev lists them; litellm has a few flags."""
    lite, dev, pi = rows.get("litellm", {}), rows.get("models.dev", {}), rows.get("pi", {})
    if levels := pi.get("thinkingLevelMap"):
        stated = {**{name: name for name in ("low", "medium", "high")}, **levels}
        found = {str(value).lower() for value in stated.values() if value}
        if "off" not in levels and lite.get("supports_none_reasoning_effort"):
            found.add("none")
        return [e for e in EFFORTS if e in found]
    if dev.get("efforts"):
        return [e for e in EFFORTS if e in dev["efforts"]]
    flags = {e: lite.get(f"supports_{e}_reasoning_effort") for e in EFFORTS}
    if any(flag is not None for flag in flags.values()):
        return [e for e in EFFORTS if flags[e] or e in ("low", "medium", "high") and flags[e] is not False]
    return []


def listed_quirks(provider, model_id, reasoning):
    return {quirk for owners, pattern, needs_reasoning, quirks in MODEL_QUIRKS
            if provider in owners and pattern.search(model_id) and (reasoning or not needs_reasoning)
            for quirk in quirks}


def quirks_of(provider, model_id, dialect, rows, supports):
    lite, dev, pi = rows.get("litellm", {}), rows.get("models.dev", {}), rows.get("pi", {})
    compat = pi.get("compat", {})
    reasoning = "reasoning" in supports
    # OpenRouter turns an effort into whatever the model behind it wants.
    adaptive = is_claude(provider, model_id) or provider == "minimax"
    words = {
        "adaptive_thinking": adaptive
        and (compat.get("forceAdaptiveThinking") or lite.get("supports_adaptive_thinking")),
        "no_forced_tool": lite.get("supports_forced_tool_use") is False,
        "no_reasoning_effort": reasoning and compat.get("supportsReasoningEffort") is False,
        "no_sampling": lite.get("supports_sampling_params") is False
        or compat.get("supportsTemperature") is False or dev.get("temperature") is False,
        "reasoning_replay": compat.get("requiresReasoningContentOnAssistantMessages"),
    }
    found = {word for word, yes in words.items() if yes}
    found |= listed_quirks(provider, model_id, reasoning)
    if dialect == "openai_responses":
        found.discard("tools_without_reasoning")  # Responses takes both together
    return sorted(found)


def hides_reasoning(provider, model_id, supports):
    if "reasoning" not in supports:
        return False
    if provider in ("openrouter", "perplexity"):
        return model_id.split("/")[0] in HIDES_REASONING
    if provider == "bedrock":
        return re.search(r"(anthropic|openai|xai)\.(?!gpt-oss)", model_id) is not None
    return provider in HIDES_REASONING


# --- a sibling with a longer context ------------------------------------------

BRAND = re.compile(r"[a-z]{2,}")


def family_of(model_id):
    """The words of a name without versions, sizes and dates: claude-haiku, gpt-mini, gemini-flash-lite."""
    name = re.sub(r"^(us|eu|global)\.", "", model_id.lower()).rsplit("/", 1)[-1]
    words = [w for w in re.split(r"[-._:@]", name) if w and not re.search(r"\d", w)]
    return "-".join(words) if words and BRAND.fullmatch(words[0]) and words[0] not in ("mini", "pro") else None


def billions(model_id):
    """A model's size, where its name tells it: 8 of llama-3.1-8b."""
    found = re.search(r"(?<![a-z0-9.])(\d+(?:\.\d+)?)b(?![a-z0-9])", model_id.lower())
    return float(found[1]) if found else None


def can(model):
    return set(model["supports"]) - {"completions", "prefill"} | set(model.get("input", ()))


def may_stand_in(model, sibling):
    """Holds half as much again, is called alike, can no less, and is no smaller model."""
    mine, its = billions(model["id"]), billions(sibling["id"])
    return (sibling["context_length"] * 2 >= model["context_length"] * 3
            and sibling.get("dialect") == model.get("dialect")
            and can(model) <= can(sibling)
            and (mine is None or its is None or its >= mine))


def link_larger(models):
    """Sets larger_context: the cheapest sibling that may stand in."""
    families = {}
    for model in models:
        if "kind" not in model and (family := family_of(model["id"])):
            region = re.match(r"(us|eu|global)\.", model["id"])
            families.setdefault((model["provider"], region and region[1], family), []).append(model)
    for siblings in families.values():
        for model in siblings:
            fits = [s for s in siblings if may_stand_in(model, s)]
            if fits:
                best = min(fits, key=lambda s: (float(s["output_usd_per_mtok"]), -s["context_length"], s["id"]))
                model["larger_context"] = best["id"]

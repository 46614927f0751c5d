"""What no price table holds: how each provider is called, and how it differs.

Quirk words are defined in README.md; the router acts on them by name. A model
carries its provider's quirks plus its own.
"""

import re

# NAMES in reduce.py says what each table calls these.
PROVIDERS = [
    {
        "id": "anthropic", "name": "Anthropic", "dialect": "anthropic",
        "base_url": "https://api.anthropic.com", "credential": "ANTHROPIC_API_KEY",
        "abort_stops_billing": "yes", "quirks": [],
    },
    {
        "id": "cerebras", "name": "Cerebras", "dialect": "openai_chat",
        "base_url": "https://api.cerebras.ai/v1", "credential": "CEREBRAS_API_KEY",
        "abort_stops_billing": "unknown", "quirks": ["no_developer_role", "no_store"],
    },
    {
        "id": "deepseek", "name": "DeepSeek", "dialect": "openai_chat",
        "base_url": "https://api.deepseek.com", "credential": "DEEPSEEK_API_KEY",
        "abort_stops_billing": "yes",
        "quirks": ["max_tokens", "no_developer_role", "no_store"],
    },
    {
        "id": "fireworks", "name": "Fireworks AI", "dialect": "openai_chat",
        "base_url": "https://api.fireworks.ai/inference/v1", "credential": "FIREWORKS_API_KEY",
        "abort_stops_billing": "yes",
        "quirks": ["max_tokens", "no_developer_role", "no_store"],
    },
    {
        "id": "google", "name": "Google", "dialect": "openai_chat",
        "base_url": "https://generativelanguage.googleapis.com/v1beta/openai",
        "credential": "GEMINI_API_KEY", "abort_stops_billing": "no",
        "quirks": ["max_tokens", "no_developer_role", "no_store", "output_total_minus_prompt"],
    },
    {
        "id": "groq", "name": "Groq", "dialect": "openai_chat",
        "base_url": "https://api.groq.com/openai/v1", "credential": "GROQ_API_KEY",
        "abort_stops_billing": "no", "quirks": ["no_developer_role", "no_store"],
    },
    {
        "id": "mistral", "name": "Mistral", "dialect": "openai_chat",
        "base_url": "https://api.mistral.ai/v1", "credential": "MISTRAL_API_KEY",
        "abort_stops_billing": "no",
        # Mistral answers 422 to every member it does not know.
        "quirks": ["max_tokens", "no_developer_role", "no_store", "no_stream_options",
                   "prefill_prefix", "random_seed", "tool_id_9"],
    },
    {
        "id": "moonshotai", "name": "Moonshot AI", "dialect": "openai_chat",
        "base_url": "https://api.moonshot.ai/v1", "credential": "MOONSHOT_API_KEY",
        "abort_stops_billing": "unknown",
        "quirks": ["max_tokens", "no_developer_role", "no_store"],
    },
    {
        "id": "openai", "name": "OpenAI", "dialect": "openai_chat",
        "base_url": "https://api.openai.com/v1", "credential": "OPENAI_API_KEY",
        "abort_stops_billing": "yes", "quirks": [],
    },
    {
        "id": "together", "name": "Together AI", "dialect": "openai_chat",
        "base_url": "https://api.together.xyz/v1", "credential": "TOGETHER_API_KEY",
        "abort_stops_billing": "yes",
        "quirks": ["max_tokens", "no_developer_role", "no_store"],
    },
    {
        "id": "xai", "name": "xAI", "dialect": "openai_chat",
        "base_url": "https://api.x.ai/v1", "credential": "XAI_API_KEY",
        "abort_stops_billing": "yes",
        "quirks": ["no_developer_role", "no_store", "output_excludes_reasoning"],
    },
    {
        "id": "zai", "name": "Z.ai", "dialect": "openai_chat",
        "base_url": "https://api.z.ai/api/paas/v4", "credential": "ZAI_API_KEY",
        "abort_stops_billing": "unknown",
        "quirks": ["max_tokens", "no_developer_role", "no_store"],
    },
]

# Reasoning these bill for is not, or only in summary, in the answer.
HIDES_REASONING = {"anthropic", "google", "openai", "xai"}

# Documents as content parts work here; elsewhere the tables mean another API.
TAKES_FILES = {"anthropic", "openai"}

# The tables' "structured output" is a JSON object without a schema here.
NO_JSON_SCHEMA = {"deepseek", "zai"}

# Continuing a trailing assistant message on the endpoint the catalog names.
TAKES_PREFILL = {"anthropic", "mistral"}

# These allow several tool calls in one answer for every model that has tools;
# elsewhere the tables' flag decides.
PARALLEL_TOOLS = {"anthropic", "deepseek", "google", "mistral", "moonshotai", "xai"}

# Models come and go here faster than most tables notice: only pi, the table
# built from the providers' own lists, shows what is still served.
CHURN = {"cerebras", "fireworks", "groq", "mistral", "together"}

# (provider or "*", id pattern, why)
LEFT_OUT = [(p, re.compile(rx), why) for p, rx, why in (
    ("*", r"latest", "an alias that moves: four tables give four prices"),
    ("*", r"audio|image|live|lyria|omni|realtime|streaming|transcribe|tts|voxtral|voice",
     "speech and pictures have prices the catalog does not hold"),
    ("*", r"(?<![a-z])search|compound|deep-research", "has a fee per call besides tokens"),
    ("*", r"guard|moderation|ocr|embed", "not a chat model"),
    ("*", r"robotics|computer-use", "made for one harness"),
    ("openai", r"^ft:|instruct|cyber|daybreak|rosalind", "not open to every key"),
    ("anthropic", r"4-[67]-\d{8}", "no such dated name: these ids are already fixed snapshots"),
    ("deepseek", r"r1|-exp", "retired, or a test name"),
    ("xai", r"beta|experimental|gv2|multi-agent", "a test name, or Responses only"),
    ("mistral", r"vibe|mistral-code|labs-", "made for one client"),
    ("fireworks", r"^(?!accounts/fireworks/models/)", "a short name or a moving router"),
)]

# (provider, id pattern, needs reasoning, quirks) - the tables carry no flag for these.
MODEL_QUIRKS = [(p, re.compile(rx), reasoning, quirks) for p, rx, reasoning, quirks in (
    ("anthropic", r"(haiku|opus|sonnet)-4-[56]", False, ("one_sampling",)),
    ("anthropic", r"fable-5-2", False, ("no_forced_tool", "no_sampling")),  # as 5-1
    ("deepseek", r"v4|flash", True, ("reasoning_replay",)),
    ("openai", r"^(o\d|gpt-[5-9])", True, ("no_penalties", "no_sampling", "no_stop")),
    ("openai", r"^gpt-(5\.[4-9]|[6-9])", True, ("tools_without_reasoning",)),
    ("xai", r"", True, ("no_penalties", "no_stop")),
)]

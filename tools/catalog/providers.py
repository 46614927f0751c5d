"""What no price table holds: how each provider is called, and how it differs.

Quirk words are defined in README.md; the router acts on them by name. A model
carries its provider's quirks plus its own.
"""

import re

# What an OpenAI-compatible host can be sent without being asked first.
SAFE = ["max_tokens", "no_developer_role", "no_store"]


def row(id, name, dialect, base_url, credential, abort, quirks=(), also=(), generation_path=None):
    out = {"id": id, "name": name, "dialect": dialect}
    if also:
        out["also"] = list(also)
    out |= {"base_url": base_url, "credential": credential, "abort_stops_billing": abort, "quirks": sorted(quirks)}
    # Where what a past answer used can be asked for.
    return out | ({"generation_path": generation_path} if generation_path else {})


# NAMES in reduce.py says what each table calls these.
PROVIDERS = [
    row("alibaba", "Alibaba Cloud", "openai_chat", "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
        "DASHSCOPE_API_KEY", "no", SAFE),
    row("anthropic", "Anthropic", "anthropic", "https://api.anthropic.com", "ANTHROPIC_API_KEY", "yes",
        ["betas"]),
    # A deployment must bear its model's name.
    row("azure", "Azure OpenAI", "openai_chat", "https://{AZURE_RESOURCE}.openai.azure.com/openai/v1",
        "AZURE_API_KEY", "yes", ["known_members", "no_store"], also=["openai_responses"]),
    row("baseten", "Baseten", "openai_chat", "https://inference.baseten.co/v1", "BASETEN_API_KEY", "unknown", [*SAFE, "not_auto"]),
    row("bedrock", "Amazon Bedrock", "bedrock_converse", "https://bedrock-runtime.{AWS_REGION}.amazonaws.com",
        "AWS_BEARER_TOKEN_BEDROCK", "no", ["inline_images"]),
    row("cerebras", "Cerebras", "openai_chat", "https://api.cerebras.ai/v1", "CEREBRAS_API_KEY", "unknown",
        ["no_developer_role", "no_store"]),
    row("cloudflare", "Cloudflare Workers AI", "openai_chat",
        "https://api.cloudflare.com/client/v4/accounts/{CLOUDFLARE_ACCOUNT_ID}/ai/v1", "WORKERS_AI_API_TOKEN",
        "yes", [*SAFE, "inline_images", "not_auto"]),
    row("cohere", "Cohere", "cohere_v2", "https://api.cohere.com", "COHERE_API_KEY", "yes"),
    row("cohere-openai", "Cohere (OpenAI-compatible)", "openai_chat", "https://api.cohere.ai/compatibility/v1",
        "COHERE_API_KEY", "yes", SAFE),
    row("deepinfra", "DeepInfra", "openai_chat", "https://api.deepinfra.com/v1/openai", "DEEPINFRA_API_KEY",
        "yes", [*SAFE, "not_auto"]),
    row("deepseek", "DeepSeek", "openai_chat", "https://api.deepseek.com", "DEEPSEEK_API_KEY", "yes", SAFE,
        also=["openai_responses"]),
    row("fireworks", "Fireworks AI", "openai_chat", "https://api.fireworks.ai/inference/v1", "FIREWORKS_API_KEY",
        "yes", SAFE),
    row("google", "Google", "gemini", "https://generativelanguage.googleapis.com", "GEMINI_API_KEY", "no"),
    row("google-openai", "Google (OpenAI-compatible)", "openai_chat",
        "https://generativelanguage.googleapis.com/v1beta/openai", "GEMINI_API_KEY", "no",
        [*SAFE, "output_total_minus_prompt"]),
    row("groq", "Groq", "openai_chat", "https://api.groq.com/openai/v1", "GROQ_API_KEY", "no",
        ["no_developer_role", "no_store"]),
    row("meta", "Meta", "openai_chat", "https://api.meta.ai/v1", "META_API_KEY", "unknown",
        ["no_developer_role", "no_store"], also=["openai_responses"]),
    row("minimax", "MiniMax", "anthropic", "https://api.minimax.io/anthropic", "MINIMAX_API_KEY", "no"),
    # Mistral answers 422 to every member it does not know.
    row("mistral", "Mistral", "openai_chat", "https://api.mistral.ai/v1", "MISTRAL_API_KEY", "no",
        [*SAFE, "no_stream_options", "prefill_prefix", "random_seed", "tool_id_9"]),
    row("moonshotai", "Moonshot AI", "openai_chat", "https://api.moonshot.ai/v1", "MOONSHOT_API_KEY", "unknown",
        [*SAFE, "inline_images"]),
    row("nebius", "Nebius", "openai_chat", "https://api.tokenfactory.nebius.com/v1", "NEBIUS_API_KEY", "no", [*SAFE, "not_auto"]),
    row("novita", "Novita AI", "openai_chat", "https://api.novita.ai/openai/v1", "NOVITA_API_KEY", "yes", [*SAFE, "not_auto"]),
    row("openai", "OpenAI", "openai_chat", "https://api.openai.com/v1", "OPENAI_API_KEY", "yes",
        ["known_members"], also=["openai_responses"]),
    # Whether hanging up ends the bill depends on the host it chose.
    row("openrouter", "OpenRouter", "openai_chat", "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY", "unknown",
        [*SAFE, "not_auto"], generation_path="/generation?id={id}"),
    row("perplexity", "Perplexity", "openai_responses", "https://api.perplexity.ai/v1", "PERPLEXITY_API_KEY", "no",
        ["no_store", "not_auto"]),
    row("together", "Together AI", "openai_chat", "https://api.together.xyz/v1", "TOGETHER_API_KEY", "yes", SAFE),
    row("vertex", "Google Vertex AI", "gemini",
        "https://aiplatform.googleapis.com/v1/projects/{VERTEX_PROJECT}/locations/global",
        "VERTEX_ACCESS_TOKEN", "no", ["vertex_paths"]),
    row("vertex-anthropic", "Anthropic on Vertex AI", "anthropic",
        "https://aiplatform.googleapis.com/v1/projects/{VERTEX_PROJECT}/locations/global",
        "VERTEX_ACCESS_TOKEN", "no", ["inline_images", "vertex_paths"]),
    row("xai", "xAI", "openai_chat", "https://api.x.ai/v1", "XAI_API_KEY", "yes",
        ["no_developer_role", "no_store", "output_excludes_reasoning"], also=["openai_responses"]),
    row("xiaomi", "Xiaomi MiMo", "openai_chat", "https://api.xiaomimimo.com/v1", "XIAOMI_API_KEY", "unknown", [*SAFE, "not_auto"]),
    row("zai", "Z.ai", "openai_chat", "https://api.z.ai/api/paas/v4", "ZAI_API_KEY", "unknown", SAFE),
]

# Rows that share another's tables.
SAME_TABLES = {"cohere-openai": "cohere", "google-openai": "google"}
SAME_GENAI = {"vertex": "google", "vertex-anthropic": "google"}
# Called at base_url + /embeddings in OpenAI's form. The last two for nothing else.
EMBEDS = {"alibaba", "azure", "cloudflare", "deepinfra", "fireworks", "mistral", "nebius", "novita", "openai",
          "together", "cohere-openai", "google-openai"}
ONLY_EMBEDS = {"cohere-openai", "google-openai"}

# Serve a request faster or later for another price, by the body's service_tier.
SELLS_TIERS = {"azure", "openai"}

# Reasoning these bill for is not, or only in summary, in the answer. Also OpenRouter's words for them.
HIDES_REASONING = {"anthropic", "azure", "google", "meta", "openai", "vertex", "vertex-anthropic",
                   "x-ai", "xai"}

# Documents as content parts work here; elsewhere the tables mean another API.
TAKES_FILES = {"anthropic", "azure", "bedrock", "google", "openai", "openrouter", "vertex", "vertex-anthropic"}

# Speech and film as content parts.
TAKES_SOUND = {"google", "vertex"}

# Also answers at base_url + /completions, by the provider's documentation.
TAKES_COMPLETIONS = {"deepinfra", "fireworks", "together"}

# The tables' "structured output" is a JSON object without a schema here, or a trick with tools.
NO_JSON_SCHEMA = {"bedrock", "deepseek", "minimax", "vertex-anthropic", "zai"}

# Continuing a trailing assistant message on the endpoint the catalog names.
TAKES_PREFILL = {"mistral"}

# These allow several tool calls in one answer for every model that has tools;
# elsewhere the tables' flag decides.
PARALLEL_TOOLS = {"anthropic", "deepseek", "google", "minimax", "mistral", "moonshotai", "vertex", "xai"}

# Models come and go here faster than most tables notice: pi is built from the
# providers' own lists, two fresh tables together are good evidence too.
CHURN = {"baseten", "cerebras", "cloudflare", "fireworks", "groq", "mistral", "together"}

# Where even a current table keeps what is gone: one of these must list it too.
ROSTER = {"bedrock": ("pi",), "openrouter": ("pi",), "deepinfra": ("models.dev",), "nebius": ("models.dev",),
          "novita": ("models.dev", "genai")}

# Hosts of everything: nobody comes to them for a model of before that day.
TOO_OLD = {"bedrock": "2024-06-01", "novita": "2025-06-01", "openrouter": "2025-01-01"}

# (provider or "*", id pattern, why)
LEFT_OUT = [(p, re.compile(rx), why) for p, rx, why in (
    ("*", r"latest|^~", "an alias that moves: four tables give four prices"),
    ("*", r"audio|image|live|lyria|omni|realtime|streaming|transcribe|tts|voxtral|voice|sonic|asr|speech",
     "speech and pictures have prices the catalog does not hold"),
    ("*", r"(?<![a-z])search|compound|deep-research", "has a fee per call besides tokens"),
    ("*", r"guard|moderation|ocr|rerank|bge-|gte-|e5-", "not a chat model"),
    ("*", r"robotics|computer-use|-lora|:free|openrouter/auto|cyber", "not for every key, or made for one harness"),
    ("openai", r"^ft:|instruct-0914|daybreak|rosalind|002-v2", "not open to every key, or a second name"),
    ("azure", r"daybreak|rosalind|model-router|^container", "not open to every key"),
    ("azure", r"\d{4}-\d\d-\d\d$", "a deployment is called by its name, not its version"),
    ("azure", r"^(?!gpt-|o\d|text-embedding|codex)", "not served by the address of Azure OpenAI"),
    ("anthropic", r"4-[67]-\d{8}", "no such dated name: these ids are already fixed snapshots"),
    ("bedrock", r"^(au|jp|in|ca|apac|us-gov)\.", "a region's twin; global, us and eu are listed"),
    ("bedrock", r"@", "no such name there"),
    ("vertex", r"^(?!gemini)", "another grammar than Gemini's"),
    ("vertex-anthropic", r"^(?!claude)|\d-\d{8}$|claude-3", "not Claude, retired, or no name of Vertex"),
    ("deepseek", r"r1|-exp|v3", "retired, or a test name"),
    ("xai", r"beta|experimental|gv2|multi-agent", "a test name, or Responses only"),
    ("meta", r"contributor|sam-", "priced for those who share their data, or no chat model"),
    ("mistral", r"vibe|mistral-code|labs-", "made for one client"),
    ("openrouter", r":", "a variant: batch, free, extended"),
    ("novita", r"sao10k|mythomax|stheno|hermes|wizardlm|llama-3-|prover|-turbo|/community|deepseek_v3|2\.5-7b|-r1-distill",
     "of an older generation"),
    ("perplexity", r"^[^/]+$", "Sonar on chat completions ended on 2026-09-27"),
    ("perplexity", r"^preset/", "no model"),
    ("fireworks", r"^(?!accounts/fireworks/models/)", "a short name or a moving router"),
)]

OPENAI_LIKE = ("azure", "openai")
CLAUDE = ("anthropic", "bedrock", "vertex-anthropic")

# (providers, id pattern, needs reasoning, quirks) - the tables carry no flag for these.
MODEL_QUIRKS = [(p, re.compile(rx), reasoning, quirks) for p, rx, reasoning, quirks in (
    (CLAUDE, r"(haiku|opus|sonnet)-4-[56]", False, ("one_sampling",)),
    (CLAUDE, r"fable-5-2", False, ("no_forced_tool", "no_sampling")),  # as 5-1
    (("alibaba",), r"", True, ("no_reasoning_effort",)),  # thinks by enable_thinking and a budget
    (("deepseek",), r"v4|flash", True, ("reasoning_replay",)),
    (("google", "vertex"), r"gemini-2", True, ("no_penalties", "thinking_budget")),  # "Penalty is not enabled for this model"
    (OPENAI_LIKE, r"^(o\d|gpt-[5-9])", True, ("no_penalties", "no_sampling", "no_stop")),
    (OPENAI_LIKE, r"^gpt-(5\.[4-9]|[6-9])", True, ("tools_without_reasoning",)),
    (("bedrock",), r"openai\.gpt-[5-9]", True, ("no_sampling", "no_stop")),
    (("xai",), r"", True, ("no_penalties", "no_stop")),
)]

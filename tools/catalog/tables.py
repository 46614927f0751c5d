"""One reader per price table: what a row there says a model costs."""

import re
from dataclasses import dataclass, field
from decimal import Decimal

MILLION = Decimal(1_000_000)
PICO = Decimal("0.000001")  # one pico-dollar per token, in USD per million tokens

NAMES = ("input", "output", "cache_read", "cache_write", "cache_write_1h", "audio_input")


@dataclass
class Rates:
    """USD per million tokens; None where the table is silent."""

    input: Decimal = None
    output: Decimal = None
    cache_read: Decimal = None
    cache_write: Decimal = None
    cache_write_1h: Decimal = None
    audio_input: Decimal = None

    def set(self, name, value):
        # A zero is a table's way to say "no such price", never a gift.
        if value:
            setattr(self, name, Decimal(value).quantize(PICO))


@dataclass
class Quote:
    base: Rates
    above: dict = field(default_factory=dict)  # prompt tokens above which -> Rates
    tiers: dict = field(default_factory=dict)  # (service tier, prompt tokens above which or 0) -> Rates
    later: dict = field(default_factory=dict)  # date from which -> Rates
    peak: Rates = None
    peak_hours: tuple = ()  # spans of the day in UTC
    weekdays: bool = False  # the peak is from Monday to Friday
    reasoning: Decimal = None  # where thinking costs other than answering


# --- litellm: USD per token ---------------------------------------------------

LITELLM_RATES = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cache_read",
    "cache_creation_input_token_cost": "cache_write",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h",
    "input_cost_per_audio_token": "audio_input",
}
LITELLM_FIELD = re.compile(rf"({'|'.join(LITELLM_RATES)})(?:_above_(\d+)k_tokens)?(?:_(flex|priority))?")


def litellm(row):
    quote = Quote(Rates())
    for key, value in row.items():
        if match := LITELLM_FIELD.fullmatch(key):
            above, tier = int(match[2] or 0) * 1000, match[3]
            if tier:
                rates = quote.tiers.setdefault((tier, above), Rates())
            else:
                rates = quote.above.setdefault(above, Rates()) if above else quote.base
            rates.set(LITELLM_RATES[match[1]], value * MILLION)
    for step in row.get("tiered_pricing", []):
        start = int(step["range"][0]) if "range" in step else 0
        rates = quote.above.setdefault(start, Rates()) if start else quote.base
        for theirs, ours in LITELLM_RATES.items():
            rates.set(ours, step.get(theirs, 0) * MILLION)
        quote.reasoning = quote.reasoning or step.get("output_cost_per_reasoning_token")
    if value := row.get("output_cost_per_reasoning_token"):
        quote.reasoning = value * MILLION
    if off := row.get("off_peak_pricing"):
        # Its flat price is the peak's, and off-peak the exception; ours is the other way round.
        quote.peak, quote.base = quote.base, Rates()
        for theirs, ours in LITELLM_RATES.items():
            quote.base.set(ours, off.get(theirs, 0) * MILLION)
        quote.weekdays = any(w["hours_utc"] == "00:00-00:00" and w["weekdays"] == [6, 7] for w in off["windows"])
    return quote


# --- pi and models.dev: USD per million tokens --------------------------------

def pi(row):
    def rates(cost):
        out = Rates()
        for theirs, ours in (("input", "input"), ("output", "output"),
                             ("cacheRead", "cache_read"), ("cacheWrite", "cache_write")):
            out.set(ours, cost.get(theirs))
        return out

    cost = row["cost"]
    return Quote(rates(cost), {t["inputTokensAbove"]: rates(t) for t in cost.get("tiers", [])})


def models_dev(row):
    def rates(cost):
        out = Rates()
        for name in ("input", "output", "cache_read", "cache_write"):
            out.set(name, cost.get(name))
        out.set("audio_input", cost.get("input_audio"))
        return out

    cost = row["cost"]
    quote = Quote(rates(cost), {t["tier"]["size"]: rates(t) for t in cost.get("tiers", []) if t["tier"].get("size")})
    quote.reasoning = cost.get("reasoning")
    return quote


# --- portkey: US cents per token ----------------------------------------------

def portkey(row):
    base = Rates()
    for theirs, ours in (("request_token", "input"), ("response_token", "output"),
                         ("cache_read_input_token", "cache_read")):
        if theirs in row:
            base.set(ours, row[theirs] * MILLION / 100)
    quote = Quote(base)
    if row.get("reasoning_token"):
        quote.reasoning = row["reasoning_token"] * MILLION / 100
    return quote


# --- genai-prices: USD per million tokens, with conditions --------------------

GENAI_RATES = {
    "input_mtok": "input", "output_mtok": "output", "cache_read_mtok": "cache_read",
    "cache_write_mtok": "cache_write", "cache_write_1h_mtok": "cache_write_1h",
    "input_audio_mtok": "audio_input",
}


def genai(row, today):
    quote = genai_standard(row, today)
    for tier, prices in row.get("tiers", {}).items():
        card = genai_card(prices)
        quote.tiers[tier, 0] = card.base
        quote.tiers |= {(tier, above): rates for above, rates in card.above.items()}
    return quote


def genai_standard(row, today):
    prices = row["prices"]
    if isinstance(prices, dict):
        return genai_card(prices)
    quote, later, daily = Quote(Rates()), {}, []
    for entry in prices:  # of the entries in force, the last one wins
        constraint = entry.get("constraint") or {}
        card = genai_card(entry["prices"])
        if constraint.get("_t") == "TimeOfDateConstraint":
            daily.append((constraint["start_time"][:5] + "-" + constraint["end_time"][:5], card.base))
        elif constraint.get("start_date", "") <= today:
            quote = card
        else:
            later[constraint["start_date"]] = card.base
    quote.later = later
    if daily:
        if any(card != daily[0][1] for _, card in daily):
            raise ValueError(f"{row['id']}: two peaks of different price")
        quote.peak, quote.peak_hours = daily[0][1], tuple(hours for hours, _ in daily)
    return quote


def genai_card(prices):
    quote = Quote(Rates())
    for theirs, ours in GENAI_RATES.items():
        value = prices.get(theirs)
        if isinstance(value, dict):
            quote.base.set(ours, value["base"])
            for tier in value["tiers"]:
                quote.above.setdefault(tier["start"], Rates()).set(ours, tier["price"])
        else:
            quote.base.set(ours, value)
    # What does not rise with the prompt costs the same above the bound.
    for rates in quote.above.values():
        for name in NAMES:
            if getattr(rates, name) is None:
                setattr(rates, name, getattr(quote.base, name))
    quote.reasoning = prices.get("output_reasoning_mtok")
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

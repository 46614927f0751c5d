"""Where the tables agree: one price out of several quotes, or the reason why there is none."""

from collections import Counter
from decimal import Decimal

from tables import NAMES, PICO

ORDER = ("litellm", "genai", "pi", "models.dev", "portkey")
# The others predate several price cuts: they may confirm a price, not contest it.
FRESH = ("litellm", "genai", "pi")
TOLERANCE = Decimal("0.005")


def near(a, b):
    return abs(a - b) <= TOLERANCE * max(a, b)


def same_price(a, b, needs_output):
    if not near(a.input, b.input):
        return False
    return not needs_output or near(a.output, b.output)


def agreeing(quotes, needs_output=True):
    """The tables that state one common price, or a reason why there are none."""
    priced = {t: q.base for t, q in quotes.items() if q.base.input and (q.base.output or not needs_output)}
    fresh = [t for t in FRESH if t in priced]
    if not fresh:
        return None, "no fresh table prices it"
    lead = priced[fresh[0]]
    group = [t for t in ORDER if t in priced and same_price(priced[t], lead, needs_output)]
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


def card_of(tables, pick):
    """One card out of the agreeing tables' cards. A discount for cached input
    counts if a fresh table or two others state it, else cached is plain input."""
    cards = {t: pick(t) for t in tables}
    card = {name: common([getattr(c, name) for c in cards.values()]) for name in NAMES}
    reads = {t: c.cache_read for t, c in cards.items() if c.cache_read is not None}
    if len(reads) < 2 and not any(t in FRESH for t in reads):
        card["cache_read"] = None
    return card


def cliffs_of(tables, quotes):
    """[(prompt tokens above which, card)], rising."""
    stepped = [t for t in tables if quotes[t].above]
    if not stepped:
        return [], None
    # A fresh table knows the steps better than an older one; two that know of none have the last word.
    fresh = [t for t in tables if t in FRESH]
    stepped = [t for t in stepped if t in FRESH] or (stepped if len(fresh) < 2 else [])
    if not stepped:
        return [], None
    # xAI's bound is inclusive ("at or above 200k"): one table says so with
    # 199999, the others with 200000. The lower bound never bills too little.
    starts = [sorted(quotes[t].above) for t in stepped]
    if any(len(s) != len(starts[0]) or abs(a - b) > 1 for s in starts for a, b in zip(s, starts[0])):
        return None, f"the tables' bounds for long prompts differ: {dict(zip(stepped, starts))}"
    out = []
    for i in range(len(starts[0])):
        def pick(table, i=i):
            return quotes[table].above[sorted(quotes[table].above)[i]]
        for t in stepped[1:]:
            if not same_price(pick(t), pick(stepped[0]), True):
                return None, "the tables' prices for long prompts differ"
        out.append((min(s[i] for s in starts), card_of(stepped, pick)))
    return out, None


def in_proportion(card, base):
    """A cache price that is not stated is the share of the input that it is in the model's own row."""
    out = dict(card)
    for name in ("cache_read", "cache_write", "cache_write_1h"):
        if out[name] is None and base[name] is not None:
            out[name] = (out["input"] * base[name] / base["input"]).quantize(PICO)
    return out


def tiers_of(quotes, base, cliffs):
    """[(service tier, prompt tokens above which or 0, card)]. litellm states them all, genai some.

    A long prompt at a tier that has no price of its own for it: the dearer of the two."""
    stated = quotes["litellm"].tiers if "litellm" in quotes else {}
    other = quotes["genai"].tiers if "genai" in quotes else {}
    out = []
    for tier in ("flex", "priority"):
        card = stated.get((tier, 0))
        if not card or not card.input or not card.output:
            continue
        card = in_proportion(vars(card), base)
        # Cheaper than the standard tier is flex's promise, dearer is priority's: else a slip.
        if (card["input"] <= base["input"]) != (tier == "flex"):
            continue
        both = [key for key in stated.keys() & other.keys() if key[0] == tier]
        if any(not same_price(stated[key], other[key], True) for key in both):
            continue
        out.append((tier, 0, card))
        for above, dear in cliffs:
            long = stated.get((tier, above))
            if long and long.input and long.output:
                out.append((tier, above, in_proportion(vars(long), base)))
            else:
                out.append((tier, above, dearer(card, dear)))
    return out


def dearer(a, b):
    """The higher price of each class of tokens; a cache price that is not stated is the input's."""
    out = {}
    for name in NAMES:
        if a[name] is None and b[name] is None:
            out[name] = None
        else:
            out[name] = max(a[name] or a["input"], b[name] or b["input"])
    return out

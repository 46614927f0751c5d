#!/usr/bin/env python3
"""python3 tools/catalog/test_generate.py - what must hold of the catalog and its generator."""

import json
import re
import subprocess
import sys
import unittest
from collections import Counter
from decimal import Decimal
from pathlib import Path

import generate
from generate import Quote, Rates, agreeing

SCHEMA_DIR = generate.OUT.parent
CATALOG = json.loads(generate.OUT.read_text())
SCHEMA = json.loads((SCHEMA_DIR / "catalog.schema.json").read_text())
DEFS = SCHEMA["$defs"]
MODELS = {(m["provider"], m["id"]): m for m in CATALOG["models"]}
PROVIDERS = {p["id"]: p for p in CATALOG["providers"]}
RATES = [f"{r}_usd_per_mtok" for r in ("input", "output", "cache_read", "cache_write", "cache_write_1h")]


def errors(value, schema, where="catalog"):
    """The few words of JSON Schema that ours uses; an unknown word is an error."""
    if "$ref" in schema:
        yield from errors(value, DEFS[schema["$ref"].rsplit("/", 1)[1]], where)
    for word, arg in schema.items():
        if word in ("$ref", "$schema", "$defs", "title", "description", "properties"):
            continue
        elif word == "type":
            kinds = {"object": dict, "array": list, "string": str, "integer": int}
            if not isinstance(value, kinds[arg]) or isinstance(value, bool):
                yield f"{where}: not of type {arg}"
                return
        elif word == "additionalProperties":
            yield from (f"{where}: unknown {k}" for k in value if k not in schema["properties"])
        elif word == "required":
            yield from (f"{where}: lacks {k}" for k in arg if k not in value)
        elif word == "items":
            for i, item in enumerate(value):
                yield from errors(item, arg, f"{where}[{i}]")
        elif word == "oneOf":
            if sum(not list(errors(value, s)) for s in arg) != 1:
                yield f"{where}: {value!r} fits none or several"
        else:
            holds = {
                "const": lambda: type(value) is type(arg) and value == arg,
                "enum": lambda: value in arg,
                "pattern": lambda: re.search(arg, value),
                "minimum": lambda: value >= arg,
                "maximum": lambda: value <= arg,
                "minItems": lambda: len(value) >= arg,
                "minLength": lambda: len(value) >= arg,
                "maxLength": lambda: len(value) <= arg,
                "uniqueItems": lambda: len(set(map(str, value))) == len(value),
                "contains": lambda: any(not list(errors(v, arg)) for v in value),
            }[word]
            if not holds():
                yield f"{where}: {value!r} breaks {word} {arg!r}"
    if isinstance(value, dict):
        for key, sub in schema.get("properties", {}).items():
            if key in value:
                yield from errors(value[key], sub, f"{where}.{key}")


class Catalog(unittest.TestCase):
    def test_file_is_what_the_generator_writes(self):
        done = subprocess.run([sys.executable, str(generate.HERE / "generate.py"), "--check"],
                              capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_check_fails_on_a_stale_file(self):
        out, generate.OUT = generate.OUT, generate.HERE / "no-such-file"
        try:
            with self.assertRaises(SystemExit):
                generate.main(["--check"])
        finally:
            generate.OUT = out

    def test_fits_the_schema(self):
        self.assertEqual(list(errors(CATALOG, SCHEMA)), [])

    def test_the_schema_check_sees_faults(self):
        broken = json.loads(json.dumps(CATALOG))
        broken["models"][0]["input_usd_per_mtok"] = "0.0"
        broken["models"][1]["output_usd_per_mtok"] = "1000.1"
        broken["models"][2]["surprise"] = 1
        broken["providers"][0]["quirks"] = ["no_such_quirk"]
        del broken["models"][3]["input"]
        self.assertEqual(len(list(errors(broken, SCHEMA))), 5)

    def test_sorted_and_unique(self):
        self.assertEqual(len(MODELS), len(CATALOG["models"]))
        self.assertEqual(list(MODELS), sorted(MODELS))
        self.assertEqual(list(PROVIDERS), sorted(PROVIDERS))

    def test_counts(self):
        per = Counter(m["provider"] for m in CATALOG["models"])
        self.assertGreaterEqual(sum(per.values()), 120)
        self.assertEqual(set(per), set(PROVIDERS))
        for provider in ("openai", "anthropic", "google", "xai"):
            self.assertGreaterEqual(per[provider], 8, provider)
        self.assertGreaterEqual(per["deepseek"], 2)

    def test_providers_are_distinct(self):
        for name in ("base_url", "credential"):
            self.assertEqual(len({p[name] for p in PROVIDERS.values()}), len(PROVIDERS))

    def test_prices_are_sane(self):
        for key, model in MODELS.items():
            for card in [model, *model.get("tiers", [])]:
                prices = {r: Decimal(card[r]) for r in RATES if r in card}
                for rate, price in prices.items():
                    self.assertTrue(0 < price <= generate.PRICE_MAX, (key, rate, price))
                    self.assertEqual(price, price.quantize(generate.PICO), (key, rate))
                    self.assertEqual(card[rate], generate.price_text(price), "one spelling per price")
                self.assertLessEqual(prices[RATES[2]], prices[RATES[0]], f"{key}: a cached token costs more")
                for write in RATES[3:]:
                    self.assertGreaterEqual(prices.get(write, prices[RATES[0]]), prices[RATES[0]], key)

    def test_tiers_rise(self):
        for key, model in MODELS.items():
            bounds = [t["above_prompt_tokens"] for t in model.get("tiers", [])]
            self.assertEqual(bounds, sorted(set(bounds)), key)
            cards = [model, *model.get("tiers", [])]
            for low, high in zip(cards, cards[1:]):
                self.assertLess(high["above_prompt_tokens"], model["context_length"], key)
                self.assertEqual({r for r in RATES if r in low}, {r for r in RATES if r in high}, key)
                for rate in (r for r in RATES if r in low):
                    self.assertLessEqual(Decimal(low[rate]), Decimal(high[rate]), (key, rate))

    def test_limits(self):
        for key, model in MODELS.items():
            self.assertLessEqual(model["max_output_tokens"], model["context_length"], key)

    def test_only_current_chat_models(self):
        lite = json.loads((generate.HERE / "sources/litellm.json").read_text())
        for provider, model_id in MODELS:
            self.assertNotRegex(model_id, "latest|embed|audio|image|-tts|deep-research")
            self.assertNotRegex(f"{provider}/{model_id}", "^openai/.*(-pro|codex)", "Responses only")
            row = lite[provider].get(model_id, {})
            self.assertGreater(row.get("deprecation_date", "9"), generate.AS_OF, model_id)

    def test_quirks_are_documented(self):
        known = {q["const"] for q in DEFS["quirks"]["items"]["oneOf"]}
        readme = set(re.findall(r"^\| `(\w+)` \|", (generate.HERE / "README.md").read_text(), re.M))
        used = {q for row in [*PROVIDERS.values(), *MODELS.values()] for q in row.get("quirks", [])}
        self.assertEqual(known, readme)
        self.assertEqual(used, known, "a quirk nobody has is dead code in the router")

    def test_sources_are_named_and_exist(self):
        names = [s["name"] for s in CATALOG["sources"]]
        self.assertEqual({p.stem for p in (generate.HERE / "sources").glob("*.json")}, set(names))
        for key, model in MODELS.items():
            self.assertLessEqual(set(model["sources"]), set(names), key)
            self.assertTrue(set(model["sources"]) & set(generate.FRESH), key)


class Prices(unittest.TestCase):
    """Read straight from the tables, past the generator's own readers."""

    SPOT = {  # USD per million tokens
        ("openai", "gpt-4o"): ("2.5", "10", "1.25"),
        ("openai", "gpt-4o-mini"): ("0.15", "0.6", "0.075"),
        ("openai", "gpt-5"): ("1.25", "10", "0.125"),
        ("openai", "gpt-5.5"): ("5", "30", "0.5"),
        ("openai", "gpt-6-sol"): ("2", "10", "0.2"),
        ("anthropic", "claude-haiku-5-5"): ("0.1", "0.5", "0.01"),
        ("anthropic", "claude-opus-5-5"): ("4", "20", "0.2"),
        ("google", "gemini-2.5-pro"): ("1.25", "10", "0.125"),
        ("deepseek", "deepseek-v4-pro"): ("1.32", "3.96", "0.044"),
        ("xai", "grok-4.3"): ("1.25", "2.5", "0.2"),
        ("groq", "openai/gpt-oss-120b"): ("0.15", "0.6", "0.075"),
    }

    def test_spot_checks_against_two_tables(self):
        lite, pi = (json.loads((generate.HERE / f"sources/{t}.json").read_text(), parse_float=Decimal)
                    for t in ("litellm", "pi"))
        for (provider, model_id), want in self.SPOT.items():
            want = [Decimal(w) for w in want]
            model = MODELS[provider, model_id]
            self.assertEqual([Decimal(model[r]) for r in RATES[:3]], want, model_id)
            row = lite[provider][model_id]
            self.assertEqual([row[f] * 1_000_000 for f in (
                "input_cost_per_token", "output_cost_per_token", "cache_read_input_token_cost")], want, model_id)
            cost = pi[provider][model_id]["cost"]
            self.assertEqual([cost[f] for f in ("input", "output", "cacheRead")], want, model_id)

    def test_long_prompts_cost_more(self):
        tier = MODELS["anthropic", "claude-haiku-5-5"]["tiers"][0]
        self.assertEqual((tier["above_prompt_tokens"], tier["input_usd_per_mtok"]), (100_000, "0.5"))
        tier = MODELS["openai", "gpt-5.5"]["tiers"][0]
        self.assertEqual((tier["above_prompt_tokens"], tier["output_usd_per_mtok"]), (272_000, "45"))
        tier = MODELS["xai", "grok-4.3"]["tiers"][0]  # "at or above 200k" is above 199 999
        self.assertEqual((tier["above_prompt_tokens"], tier["input_usd_per_mtok"]), (199_999, "2.5"))

    def test_cache_writes(self):
        model = MODELS["anthropic", "claude-opus-5-5"]
        self.assertEqual((model[RATES[3]], model[RATES[4]]), ("5", "8"))
        self.assertNotIn(RATES[3], MODELS["openai", "gpt-4o"])


class Agreement(unittest.TestCase):
    @staticmethod
    def verdict(**prices):
        quotes = {t.replace("_", "."): Quote(Rates(Decimal(i), Decimal(o))) for t, (i, o) in prices.items()}
        return agreeing(quotes)[0]

    def test_rules(self):
        both = ["litellm", "genai"]
        self.assertEqual(self.verdict(litellm=(1, 2), genai=(1, 2)), both)
        self.assertEqual(self.verdict(litellm=(1, 2), genai=("1.004", 2)), both, "half a percent is noise")
        self.assertIsNone(self.verdict(litellm=(1, 2), genai=("1.01", 2)), "fresh tables conflict")
        self.assertIsNone(self.verdict(litellm=(1, 2), genai=(1, 2), pi=(1, 3)), "one fresh dissent is enough")
        self.assertIsNone(self.verdict(litellm=(1, 2)), "one table is no agreement")
        self.assertIsNone(self.verdict(models_dev=(1, 2), portkey=(1, 2)), "old tables alone")
        self.assertEqual(self.verdict(litellm=(1, 2), portkey=(1, 2)), ["litellm", "portkey"])
        self.assertIsNone(self.verdict(litellm=(1, 2), models_dev=(1, 2), portkey=(2, 2)), "old dissent, one fresh")
        self.assertEqual(self.verdict(litellm=(1, 2), genai=(1, 2), portkey=(2, 2)), both, "old dissent, two fresh")

    def test_zero_is_no_price(self):
        rates = Rates()
        rates.set("input", Decimal(0))
        self.assertIsNone(rates.input)

    def test_peak_hours_set_the_price(self):
        day = {"_t": "TimeOfDateConstraint"}
        row = {"prices": [
            {"prices": {"input_mtok": 1, "output_mtok": 2}},
            {"constraint": {"_t": "StartDateConstraint", "start_date": "2026-01-01"},
             "prices": {"input_mtok": 3, "output_mtok": 4}},
            {"constraint": {"_t": "StartDateConstraint", "start_date": "2027-01-01"},
             "prices": {"input_mtok": 90, "output_mtok": 90}},
            {"constraint": day, "prices": {"input_mtok": 6, "output_mtok": 8}},
        ]}
        self.assertEqual(generate.quote_genai(row).base.input, 6)
        del row["prices"][3]
        self.assertEqual(generate.quote_genai(row).base.input, 3, "past and future prices do not count")

    def test_price_text_is_plain(self):
        for given, want in (("10.000000", "10"), ("0.070000", "0.07"), ("1E+2", "100"), ("0.000001", "0.000001")):
            self.assertEqual(generate.price_text(Decimal(given)), want)


if __name__ == "__main__":
    unittest.main()

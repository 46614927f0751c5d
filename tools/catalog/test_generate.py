#!/usr/bin/env python3
"""python3 tools/catalog/test_generate.py - what must hold of the catalog and its generator."""

import json
import re
import subprocess
import sys
import tempfile
import unittest
from collections import Counter
from decimal import Decimal
from pathlib import Path

import agree
import generate
import tables
import validate
from agree import agreeing
from tables import Quote, Rates
from validate import RATES

CATALOG = json.loads(generate.OUT.read_text())
SCHEMA = json.loads(validate.SCHEMA_FILE.read_text())
MODELS = {(m["provider"], m["id"]): m for m in CATALOG["models"]}
CHAT = {key: m for key, m in MODELS.items() if "kind" not in m}
PROVIDERS = {p["id"]: p for p in CATALOG["providers"]}
NAMED = ("openai", "anthropic", "google", "deepseek", "xai", "mistral", "groq", "together", "fireworks", "cerebras",
         "alibaba", "moonshotai", "zai", "cohere", "perplexity", "bedrock", "azure", "vertex", "vertex-anthropic",
         "openrouter", "minimax")


def source(name):
    return json.loads((generate.HERE / f"sources/{name}.json").read_text(), parse_float=Decimal)


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

    def test_keeps_the_rules(self):
        self.assertEqual(validate.faults(CATALOG), [])

    def test_the_rules_see_faults(self):
        broken = json.loads(json.dumps(CATALOG))
        broken["models"][0]["input_usd_per_mtok"] = "0.0"
        broken["models"][1]["output_usd_per_mtok"] = "1000.1"
        broken["models"][2]["surprise"] = 1
        broken["providers"][0]["quirks"] = ["no_such_quirk"]
        broken["providers"][1]["base_url"] = "https://{lower}.test"
        del broken["models"][3]["supports"]
        self.assertEqual(len(validate.faults(broken)), 6)

    def test_the_rules_see_what_a_schema_cannot(self):
        for change, word in (
            ({"provider": "nobody"}, "no such provider"), ({"max_output_tokens": 19_000_000}, "longer"),
            ({"larger_context": "none"}, "larger_context"), ({"cache_read_usd_per_mtok": "999"}, "cached"),
            ({"rates": [{"input_usd_per_mtok": "1", "output_usd_per_mtok": "1"}]}, "condition"),
            ({"sources": ["rumour"]}, "source"), ({"kind": "embedding"}, "embedding"),
        ):
            broken = json.loads(json.dumps(CATALOG))
            model = next(m for m in broken["models"] if m["id"] == "gpt-4o" and m["provider"] == "openai")
            model.pop("rates", None)
            model.update(change)
            self.assertTrue(any(word in fault for fault in validate.faults(broken)), word)

    def test_counts(self):
        per = Counter(provider for provider, _ in CHAT)
        self.assertGreaterEqual(len(CHAT), 600)
        self.assertGreaterEqual(len(per), 20)
        self.assertEqual([p for p in NAMED if not per[p]], [])
        for provider in ("openai", "anthropic", "google", "xai"):
            self.assertGreaterEqual(per[provider], 8, provider)
        self.assertEqual({p for p, _ in MODELS}, set(PROVIDERS))

    def test_small_enough(self):
        self.assertLess(generate.OUT.stat().st_size, 360_000, "every isolate parses it at its start")

    def test_providers_are_distinct(self):
        addresses = Counter((p["base_url"], p["dialect"]) for p in PROVIDERS.values())
        self.assertEqual(max(addresses.values()), 1)
        for name in {h for p in PROVIDERS.values() for h in re.findall(r"\{(\w+)\}", p["base_url"])}:
            self.assertIn(f"`{name}`", (generate.HERE / "README.md").read_text(), "a variable nobody knows of")

    def test_prices_are_sane(self):
        for key, model in MODELS.items():
            for card in [model, *model.get("rates", [])]:
                for rate, price in ((r, Decimal(card[r])) for r in RATES if r in card):
                    self.assertTrue(0 < price <= generate.PRICE_MAX, (key, rate, price))
                    self.assertEqual(price, price.quantize(tables.PICO), (key, rate))
                    self.assertEqual(card[rate], generate.price_text(price), "one spelling per price")

    def test_long_prompts_never_cost_less(self):
        for key, model in CHAT.items():
            for tier in (None, "flex", "priority"):
                steps = [r for r in model.get("rates", []) if r.get("service_tier") == tier and "from" not in r]
                cards = [model, *steps] if tier is None else steps
                bounds = [c.get("above_prompt_tokens", 0) for c in cards if "utc_hours" not in c]
                self.assertEqual(bounds, sorted(set(bounds)), key)
                self.assertLess(max(bounds, default=0), model["context_length"], key)
                for low, high in zip(cards, cards[1:]):
                    for rate in (r for r in RATES if r in low and r in high):
                        self.assertLessEqual(Decimal(low[rate]), Decimal(high[rate]), (key, rate))

    def test_only_current_chat_models(self):
        lite = source("litellm")
        for (provider, model_id), model in MODELS.items():
            self.assertNotRegex(model_id, "latest|audio|image|-tts|deep-research")
            row = lite.get(generate.SAME_TABLES.get(provider, provider), {}).get(model_id, {})
            self.assertGreater(row.get("deprecation_date", "9"), generate.AS_OF, model_id)
            self.assertGreater(model.get("retires", "9"), generate.AS_OF, model_id)

    def test_quirks_are_documented(self):
        known = {q["const"] for q in SCHEMA["$defs"]["quirks"]["items"]["oneOf"]}
        text = (generate.HERE / "README.md").read_text().split("## Quirks")[1]
        readme = set(re.findall(r"^\| `(\w+)` \|", text, re.M))
        used = {q for row in [*PROVIDERS.values(), *MODELS.values()] for q in row.get("quirks", [])}
        self.assertEqual(known, readme)
        self.assertEqual(used, known, "a quirk nobody has is dead code in the router")

    def test_sources_are_named_and_exist(self):
        own = [json.loads(p.read_text())["source"]["name"] for p in generate.OWN.glob("*.json")]
        names = [s["name"] for s in CATALOG["sources"]]
        self.assertEqual({p.stem for p in (generate.HERE / "sources").glob("*.json")} | set(own), set(names))
        for key, model in MODELS.items():
            if model["sources"][0] in own:
                continue  # a price somebody read from the provider's page
            self.assertGreaterEqual(len(model["sources"]), 2, key)
            self.assertTrue(set(model["sources"]) & set(agree.FRESH), key)

    def test_the_counts_in_the_readme_are_the_generators(self):
        text = (generate.HERE / "README.md").read_text()
        # Providers written by hand are counted by whoever adds them.
        if not list(generate.OWN.glob("*.json")):
            self.assertIn(generate.count_table(CATALOG), text)


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
        ("xai", "grok-4.3"): ("1.25", "2.5", "0.2"),
        ("groq", "openai/gpt-oss-120b"): ("0.15", "0.6", "0.075"),
        ("fireworks", "accounts/fireworks/models/kimi-k3"): ("3", "15", "0.3"),
    }

    def rates(self, provider, model_id, **when):
        """The row's rates entry under exactly these conditions."""
        for rate in MODELS[provider, model_id].get("rates", []):
            if {c: rate[c] for c in validate.CONDITIONS if c in rate} == when:
                return tuple(rate.get(r) for r in RATES[:3])
        self.fail(f"{model_id}: no rate for {when}")

    def test_spot_checks_against_two_tables(self):
        lite, pi = source("litellm"), source("pi")
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
        self.assertEqual(self.rates("anthropic", "claude-haiku-5-5", above_prompt_tokens=100_000), ("0.5", "2.5", "0.05"))
        self.assertEqual(self.rates("openai", "gpt-5.5", above_prompt_tokens=272_000), ("10", "45", "1"))
        # "at or above 200k" is above 199 999
        self.assertEqual(self.rates("xai", "grok-4.3", above_prompt_tokens=199_999), ("2.5", "5", "0.4"))

    def test_the_dearest(self):
        model = MODELS["openai", "gpt-5.5-pro"]
        self.assertEqual((model[RATES[0]], model[RATES[1]], model["dialect"]), ("30", "180", "openai_responses"))
        self.assertEqual(self.rates("openai", "gpt-5.5-pro", above_prompt_tokens=272_000), ("60", "270", None))

    def test_flex_and_priority(self):
        self.assertEqual(self.rates("openai", "gpt-5.5", service_tier="flex"), ("2.5", "15", "0.25"))
        self.assertEqual(self.rates("openai", "gpt-5.5", service_tier="priority"), ("12.5", "75", "1.25"))
        self.assertEqual(self.rates("openai", "gpt-5.5", service_tier="flex", above_prompt_tokens=272_000),
                         ("5", "22.5", "0.5"))
        for key, model in MODELS.items():
            rates = model.get("rates", [])
            if any("service_tier" in r for r in rates):
                self.assertIn(key[0], ("openai", "azure"))
                steps = {r.get("above_prompt_tokens") for r in rates}
                for tier in {r["service_tier"] for r in rates if "service_tier" in r}:
                    self.assertEqual({r.get("above_prompt_tokens") for r in rates if r.get("service_tier") == tier},
                                     steps | {None}, f"{key}: a long prompt at {tier} has a price of its own")

    def test_genai_confirms_the_tiers_it_knows(self):
        same = other = 0
        for row in source("genai")["openai"]:
            for tier, card in row["tiers"].items():
                for rate in MODELS.get(("openai", row["id"]), {}).get("rates", []):
                    if {c: rate[c] for c in validate.CONDITIONS if c in rate} == {"service_tier": tier}:
                        want = [tables.genai_card(card).base.input, tables.genai_card(card).base.output]
                        hit = [Decimal(rate[r]) for r in RATES[:2]] == want
                        same, other = same + hit, other + (not hit)
        self.assertGreaterEqual(same, 25)
        self.assertEqual(other, 0)

    def test_introductory_prices_end(self):
        for model_id in ("gemini-3.6-flash", "gemini-3.7-flash", "gemini-3.8-flash"):
            self.assertEqual(MODELS["google", model_id][RATES[1]], "3.75")
            self.assertEqual(self.rates("google", model_id, **{"from": "2027-01-01"}), ("1.5", "7.5", "0.15"))

    def test_peak_hours(self):
        model = MODELS["deepseek", "deepseek-v4-pro"]
        self.assertEqual([model[r] for r in RATES[:3]], ["0.66", "1.98", "0.022"])
        hours = ["01:00-04:00", "06:00-10:00"]
        self.assertEqual(self.rates("deepseek", "deepseek-v4-pro", utc_hours=hours, weekdays=True),
                         ("1.32", "3.96", "0.044"))
        # litellm states the same from the other side: what is left of a weekday, and the weekend.
        off = source("litellm")["deepseek"]["deepseek-v4-pro"]["off_peak_pricing"]["windows"]
        self.assertEqual(off, [
            {"hours_utc": ["00:00-01:00", "04:00-06:00", "10:00-00:00"], "weekdays": [1, 2, 3, 4, 5]},
            {"hours_utc": "00:00-00:00", "weekdays": [6, 7]}])

    def test_cache_writes(self):
        model = MODELS["anthropic", "claude-opus-5-5"]
        self.assertEqual((model[RATES[3]], model[RATES[4]]), ("5", "8"))
        self.assertNotIn(RATES[3], MODELS["openai", "gpt-4o"])

    def test_cached_input_stays_as_cheap_under_conditions(self):
        # Perplexity's table has no price for cached input of long prompts, Azure's none for flex.
        self.assertEqual(self.rates("perplexity", "openai/gpt-5.5", above_prompt_tokens=272_000), ("10", "45", "1"))
        self.assertEqual(self.rates("azure", "gpt-5.4", service_tier="flex"), ("1.25", "7.5", "0.125"))
        sources = generate.load()
        for (provider, model_id), model in MODELS.items():
            name = generate.SAME_TABLES.get(provider, provider)
            rows = {t: sources[t].get(name, {}).get(model_id) for t in generate.ORDER if t != "genai"}
            rows["genai"] = tables.find_genai(sources["genai"].get(generate.SAME_GENAI.get(name, name), []), model_id)
            quotes = generate.quotes_of({t: row for t, row in rows.items() if row}).values()
            stated = {card.cache_read for q in quotes for card in (
                *q.above.values(), *q.tiers.values(), *q.later.values(), *filter(None, [q.peak]))}
            share = Decimal(model.get(RATES[2], model[RATES[0]])) / Decimal(model[RATES[0]])
            for rate in model.get("rates", []):
                read = Decimal(rate.get(RATES[2], rate[RATES[0]]))
                if read not in stated:
                    self.assertLessEqual(read, Decimal(rate[RATES[0]]) * share + tables.PICO, (provider, model_id, rate))

    def test_embeddings(self):
        self.assertEqual(MODELS["openai", "text-embedding-3-small"][RATES[0]], "0.02")
        self.assertEqual({p for p, _ in MODELS.keys() - CHAT.keys()} - generate.EMBEDS, set())


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

    def test_cliffs(self):
        def quote(*bounds):
            return Quote(Rates(Decimal(1), Decimal(2)), {b: Rates(Decimal(2), Decimal(4)) for b in bounds})
        cliffs = agree.cliffs_of(["litellm", "genai"], {"litellm": quote(200_000), "genai": quote(199_999)})[0]
        self.assertEqual([above for above, _ in cliffs], [199_999], "the lower bound never bills too little")
        self.assertIsNotNone(agree.cliffs_of(["litellm", "genai"], {"litellm": quote(1), "genai": quote(9)})[1])
        quotes = {"litellm": quote(), "genai": quote(), "models.dev": quote(5)}
        self.assertEqual(agree.cliffs_of(list(quotes), quotes), ([], None), "two fresh tables know of none")
        del quotes["genai"]
        self.assertEqual(len(agree.cliffs_of(list(quotes), quotes)[0]), 1, "one alone may have missed it")

    def test_a_tier_without_a_long_price_costs_the_dearer(self):
        card = dict.fromkeys(tables.NAMES) | {"input": Decimal(1), "output": Decimal(9)}
        dear = dict.fromkeys(tables.NAMES) | {"input": Decimal(2), "output": Decimal(4), "cache_read": Decimal(1)}
        both = agree.dearer(card, dear)
        self.assertEqual((both["input"], both["output"], both["cache_read"]), (2, 9, 1))

    def test_a_cache_price_nobody_states_is_in_proportion(self):
        base = dict.fromkeys(tables.NAMES) | {"input": Decimal(3), "cache_read": Decimal(1), "cache_write": Decimal(6)}
        card = dict.fromkeys(tables.NAMES) | {"input": Decimal(1), "cache_write": Decimal(5)}
        told = agree.in_proportion(card, base)
        self.assertEqual([told[name] for name in tables.NAMES],
                         [1, None, Decimal("0.333333"), 5, None, None], "what is stated stays, what has no base is not made")

    def test_zero_is_no_price(self):
        rates = Rates()
        rates.set("input", Decimal(0))
        self.assertIsNone(rates.input)

    def test_dates_and_hours(self):
        def since(date):
            return {"_t": "StartDateConstraint", "start_date": date}
        row = {"id": "m", "prices": [
            {"prices": {"input_mtok": 1, "output_mtok": 2}},
            {"constraint": since("2026-01-01"), "prices": {"input_mtok": 3, "output_mtok": 4}},
            {"constraint": since("2027-01-01"), "prices": {"input_mtok": 90, "output_mtok": 90}},
            {"constraint": {"_t": "TimeOfDateConstraint", "start_time": "01:00:00+00:00", "end_time": "04:00:00+00:00"},
             "prices": {"input_mtok": 6, "output_mtok": 8}},
        ]}
        quote = tables.genai(row, "2026-11-22")
        self.assertEqual((quote.base.input, quote.peak.input, quote.peak_hours), (3, 6, ("01:00-04:00",)))
        self.assertEqual({d: r.input for d, r in quote.later.items()}, {"2027-01-01": 90})

    def test_a_table_without_a_clock_confirms_the_peak(self):
        rows = {"litellm": source("litellm")["deepseek"]["deepseek-v4-pro"],
                "pi": source("pi")["deepseek"]["deepseek-v4-pro"]}
        quotes = generate.quotes_of(rows)
        self.assertEqual((quotes["pi"].base.input, quotes["pi"].peak.input), (Decimal("0.66"), Decimal("1.32")))

    def test_price_text_is_plain(self):
        for given, want in (("10.000000", "10"), ("0.070000", "0.07"), ("1E+2", "100"), ("0.000001", "0.000001")):
            self.assertEqual(generate.price_text(Decimal(given)), want)


class ByHand(unittest.TestCase):
    def test_the_example_of_the_guide_fits(self):
        text = (generate.HERE.parent.parent / "docs/adding-a-provider.md").read_text()
        example = re.search(r"```json\n(.*?)```", text, re.S)[1]
        own, folder = generate.OWN, tempfile.TemporaryDirectory()
        generate.OWN = Path(folder.name)
        (generate.OWN / "acme.json").write_text(example)
        rest = {name: [row for row in rows if "acme" not in (row.get("id"), row.get("provider"))] if name != "sources" else rows
                for name, rows in CATALOG.items() if name != "version"}
        bare = CATALOG | rest
        try:
            catalog = generate.with_own(bare)
        finally:
            generate.OWN = own
            folder.cleanup()
        self.assertEqual(validate.faults(catalog), [])
        self.assertEqual(len(generate.change(bare, catalog)), 3)  # two models and a provider


class Change(unittest.TestCase):
    def test_is_told_in_short(self):
        new = json.loads(json.dumps(CATALOG))
        first, second = new["models"][0], new["models"][1]
        first["input_usd_per_mtok"] = "777"
        new["models"].remove(second)
        told = generate.change(CATALOG, new)
        self.assertIn(f"- {second['provider']}/{second['id']}", told)
        self.assertTrue(any(first["id"] in line and "777" in line for line in told))
        self.assertEqual(generate.change(CATALOG, CATALOG), [])


if __name__ == "__main__":
    unittest.main()

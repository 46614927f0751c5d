// What isolates of a region tell each other of their providers.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { start, until } from "./harness.mjs";

let here, own;
before(async () => {
  here = await start();
  own = await here.newOrganization();
});
after(() => here.close());

const REGIONS = ["AF", "AN", "AS", "EU", "NA", "OC", "SA", "global"];
const MODEL = "openai/gpt-5-mini";
const whyNot = async (worker = here, { key } = own) => {
  const { body } = await worker.ask(key, { model: MODEL, megarouter: { explain: "only" } });
  return body.megarouter.candidates.find(({ provider, model }) => `${provider}/${model}` === MODEL).why;
};

/** As another isolate of that region would tell it: six failures in a row of a model, when the next report is due. */
const report = () => {
  const failed = { deployment: MODEL, at: Date.now() + 5_000, outcome: { failed: { fault: "fault", retry_after_ms: null } } };
  return new TextEncoder().encode(JSON.stringify({ since: 0, samples: Array(6).fill(failed) }));
};
const OPEN = "circuit open: tried last";

test("what another isolate of the region saw is known here with the next report, and nothing of other regions", async () => {
  const { HEALTH, KV } = await here.worker.getEnv();
  await here.ask(own.key, { model: "openai/gpt-5-nano" }); // its samples go out at once
  const region = await until("this isolate's region publishes its scores", async () => {
    const texts = await Promise.all(REGIONS.map((region) => KV.get(`health/${region}`)));
    return REGIONS[texts.findIndex((text) => text && JSON.parse(text).scores["openai/gpt-5-nano"])];
  });
  const heard = async () => {
    await new Promise((done) => setTimeout(done, 5_100)); // it reports every five seconds at most
    await here.ask(own.key, { model: "openai/gpt-5-nano" });
    await new Promise((done) => setTimeout(done, 300));
    return whyNot();
  };
  for (const other of REGIONS.filter((name) => name !== region)) await HEALTH.getByName(other).call(report());
  assert.equal(await heard(), null, "other regions are not ours");
  await HEALTH.getByName(region).call(report());
  assert.equal(await heard(), OPEN);
});

test("an isolate that starts reads what its region has published", async () => {
  const other = await start();
  try {
    const { KV } = await other.worker.getEnv();
    const score = { success: 0.5, failures_in_a_row: 6, opened: 1, open_until: Date.now() + 25_000, last: Date.now() };
    for (const region of REGIONS) await KV.put(`health/${region}`, JSON.stringify({ id: "2026-01-01T00:00:00Z", scores: { [MODEL]: score } }));
    const made = await other.newOrganization(); // its first request reads the store
    assert.equal(await whyNot(other, made), OPEN);
  } finally {
    await other.close();
  }
});

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
const whyNot = async () => {
  const { body } = await here.ask(own.key, { model: MODEL, megarouter: { explain: "only" } });
  return body.megarouter.candidates.find(({ provider, model }) => `${provider}/${model}` === MODEL).why;
};

test("what another isolate of the region saw is known here with the next report, and to new ones by the key-value store", async () => {
  const { HEALTH, KV } = await here.worker.getEnv();
  assert.equal(await whyNot(), null);
  // The part of the world the local runtime says it is in is its own business.
  const at = Date.now();
  const failed = { deployment: MODEL, at, outcome: { failed: { fault: "fault", retry_after_ms: null } } };
  const report = new TextEncoder().encode(JSON.stringify({ since: 0, samples: Array(6).fill(failed) }));
  for (const region of REGIONS) await HEALTH.getByName(region).call(report);
  await here.ask(own.key, { model: "openai/gpt-5-nano" }); // its samples go out, and the answer comes back
  await until("the circuit is open here as well", async () => await whyNot() === "circuit open: tried last");

  await until("every region publishes its scores", async () => {
    const texts = await Promise.all(REGIONS.map((region) => KV.get(`health/${region}`)));
    return texts.every((text) => text && JSON.parse(text).id && JSON.parse(text).scores[MODEL].failures_in_a_row === 6);
  });
});

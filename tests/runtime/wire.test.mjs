// What happens to connections: refused by a provider, or closed by the caller.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { startInstance, until } from "./harness.mjs";

let here, own;
before(async () => {
  here = await startInstance();
  own = here.own;
});
after(() => here.close());

const entryOf = (answer) => until("the call is in the ledger", async () => {
  const { body } = await here.call("GET", "/admin/v1/ledger/entries", own.adminKey);
  return body.data.find(({ id }) => id === answer.headers.get("x-request-id"));
}, { ms: 4000 });

test("with every target down the caller is told so, and pays nothing", async () => {
  const targets = [];
  for (const name of ["down-a", "down-b"]) {
    await here.newProvider(own, name);
    await here.sandbox.set(name, { down: true });
    targets.push({ provider: name, model: "m" });
  }
  await here.call("PUT", "/admin/v1/routes/down", own.adminKey, { targets });
  for (const stream of [false, true]) {
    const answer = await here.ask(own.key, { model: "down", stream });
    assert.deepEqual([answer.status, answer.body.error.code], [503, "upstream_unreachable"]);
    assert.equal(answer.headers.get("x-should-retry"), "false");
    assert.equal(answer.headers.get("x-megarouter-attempts"), "2");
    const { amount_usd, call } = await entryOf(answer);
    assert.equal(amount_usd, "0");
    assert.deepEqual(call.attempts.map(({ outcome }) => outcome), ["connection", "connection"]);
  }
});

/** Reads a stream's first bytes over a connection of its own, then closes it. */
async function hangUp(model, more) {
  const stop = new AbortController();
  const answer = await fetch(new URL("/v1/chat/completions", here.url), {
    method: "POST", signal: stop.signal,
    headers: { authorization: `Bearer ${own.key}`, "content-type": "application/json" },
    body: JSON.stringify({ model, max_tokens: 64, stream: true, messages: [{ role: "user", content: "count to 30" }], ...more }),
  });
  assert.equal(answer.status, 200);
  await answer.body.getReader().read();
  stop.abort();
  return answer;
}

// A native relay is chosen where usage was asked for and the answer is bounded; else each frame is read.
for (const [way, more] of [["pumped", {}], ["native", { stream_options: { include_usage: true } }]]) {
  test(`a hang-up ends a ${way} call where the provider then stops billing`, async () => {
    const name = `${way}-stops`;
    const model = await here.newProvider(own, name, { abort_stops_billing: true });
    await here.sandbox.set(name, { chunk_delay_ms: 50 });
    const answer = await hangUp(model, more);
    await until("the provider sees the hang-up", async () => (await here.sandbox.seen(name)).aborted === 1, { ms: 1000 });
    const { amount_usd, call } = await entryOf(answer);
    assert.equal(call.status, 499);
    assert.ok(Number(amount_usd) < 0 && call.usage.output < 30, `what was seen is what it costs: ${JSON.stringify(call)}`);
  });

  test(`a hang-up lets a ${way} call end where the provider bills on`, async () => {
    const name = `${way}-bills`;
    const model = await here.newProvider(own, name, { abort_stops_billing: false });
    await here.sandbox.set(name, { chunk_delay_ms: 20 });
    const answer = await hangUp(model, more);
    const { amount_usd, call } = await entryOf(answer);
    assert.equal((await here.sandbox.seen(name)).aborted, 0);
    assert.ok(Number(amount_usd) < 0 && call.usage.output >= 30 && !call.estimated, JSON.stringify(call));
  });
}

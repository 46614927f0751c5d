// What the platform does wrong, row by row of docs/faults.md: the key-value store, the account's object, the journal.
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { costOf, entryOf, ledger, nanos, soundChain, sum, walletAtRest } from "./books.mjs";
import { code, start, until } from "./harness.mjs";

const entry = new URL("broken.js", import.meta.url).pathname;
const SETTLE_S = 2;

let here, own, model;
before(async () => {
  here = await start({ entry, vars: { OUTBOX_FLUSH_MS: "100", HOLD_SETTLE_BY_S: String(SETTLE_S), SNAPSHOT_TTL_S: "0" } });
  own = await here.newOrganization();
  model = await here.newProvider(own, "steady");
});
after(() => here.close());
afterEach(() => faults({}));

const faults = async (more, worker = here) => (await worker.call("PUT", "/faults", undefined, more)).body;
const letters = async () => (await here.call("GET", "/faults")).body.sent;
const ask = (body) => here.ask(own.key, { model, max_tokens: 64, ...body });
const wallet = async () => (await here.call("GET", "/admin/v1/wallet", own.adminKey)).body;

test("p1: an isolate that starts while the key-value store is down or silent serves the bundled catalog", async () => {
  for (const kv of ["down", "silent"]) {
    const other = await start({ entry, vars: { FAULTS: JSON.stringify({ kv }) } });
    try {
      const began = Date.now();
      const own = await other.newOrganization();
      const answer = await other.ask(own.key, { model: "openai/gpt-5-mini" });
      assert.equal(answer.status, 200, JSON.stringify(answer.body));
      assert.ok(Date.now() - began < 10_000, "nobody waits for it for long");
      const { body } = await other.call("GET", "/platform/v1/catalog", other.operatorToken);
      assert.equal(body.source, "bundled");
    } finally {
      await other.close();
    }
  }
});

test("p3: other bytes in the key-value store change nothing", async () => {
  const decide = async () => (await ask({ megarouter: { explain: "only" } })).body.megarouter.catalog_id;
  const before = await decide();
  await faults({ kv: "garbage" });
  for (let turn = 0; turn < 5; turn++) assert.equal(await decide(), before);
  assert.equal((await ask()).status, 200);
});

test("p5: an account with too much to do is not pressed, and the caller is told when to come back", async () => {
  await faults({ account: "overloaded" });
  for (const stream of [false, true]) {
    const answer = await ask({ stream });
    assert.deepEqual(code(answer), [503, "budget_unavailable"]);
    assert.ok([1, 2, 3].includes(Number(answer.headers.get("retry-after"))));
    assert.equal(answer.headers.get("x-should-retry"), "true");
  }
  assert.equal(await letters(), 2, "one letter a call");
});

test("p6: a hold whose answer was lost is asked for again, and is one hold", async () => {
  const before = await walletAtRest(here.call, own.adminKey);
  await faults({ account: "deaf", letters: "hold", times: 2 });
  const answer = await ask();
  assert.equal(answer.status, 200, JSON.stringify(answer.body));
  const after = await walletAtRest(here.call, own.adminKey);
  assert.equal(nanos(after.posted_usd) - nanos(before.posted_usd), nanos(costOf(answer)));
  await faults({ account: "down", letters: "hold" });
  const lost = await ask();
  assert.deepEqual(code(lost), [503, "budget_unavailable"]);
  assert.equal(await letters(), 4, "three tries, and one to give back what may have been held");
});

test("p6: a turn that throws in the middle has done nothing, and the next one works", async () => {
  const before = await walletAtRest(here.call, own.adminKey);
  await faults({ storage: "down", times: 2 });
  const answer = await ask();
  assert.equal(answer.status, 200, JSON.stringify(answer.body));
  const after = await walletAtRest(here.call, own.adminKey);
  assert.equal(nanos(after.posted_usd) - nanos(before.posted_usd), nanos(costOf(answer)));
});

test("p8: a posting that is not taken is tried again", async () => {
  await faults({ account: "down", letters: "post", times: 2 });
  const answer = await ask();
  const booked = await entryOf(here.call, own.adminKey, answer.headers.get("x-request-id"), { ms: 6_000 });
  assert.equal(nanos(booked.amount_usd), -nanos(costOf(answer)));
});

test("p8: a posting that is never taken leaves its hold in suspense: the budget is not free of it", async () => {
  const before = await walletAtRest(here.call, own.adminKey);
  await faults({ account: "down", letters: "post" });
  const answer = await ask();
  assert.equal(answer.status, 200);
  const { ACCOUNT } = await here.worker.getEnv();
  await until("the hold has gone to suspense", async () => await ACCOUNT.getByName(`org:${own.id}`).suspended() === 1, { ms: SETTLE_S * 1_000 + 5_000 });
  const held = await wallet();
  assert.deepEqual([held.posted_usd, nanos(held.held_usd) > 0n], [before.posted_usd, true]);
  await faults({});
  const booked = await entryOf(here.call, own.adminKey, answer.headers.get("x-request-id"), { ms: 20_000 });
  assert.equal(nanos(booked.amount_usd), -nanos(costOf(answer)), "its posting is still tried, and closes it");
});

for (const journal of ["down", "slow"]) {
  test(`p14: calls go on while the journal is ${journal}, and it gets everything afterwards`, async () => {
    const own = await here.newOrganization();
    const model = await here.newProvider(own, `beside-${journal}`);
    await faults({ journal });
    const answers = await Promise.all(Array.from({ length: 20 }, (_, place) => here.ask(own.key, { model, stream: place % 2 === 1 })));
    assert.ok(answers.every(({ status }) => status === 200));
    await new Promise((done) => setTimeout(done, 500));
    await faults({});
    const entries = await until("the journal has everything", async () => {
      const entries = await ledger(here.call, own.adminKey);
      return entries.length === answers.length + 1 && entries;
    }, { ms: 20_000 });
    soundChain(entries);
    const usage = entries.filter(({ kind }) => kind === "usage");
    assert.equal(-sum(usage.map(({ amount_usd }) => amount_usd)), sum(answers.map(costOf)));
  });
}

// Where the money goes: holds, postings, budgets, wallet and ledger, to the nano-dollar.
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { after, before, test } from "node:test";
import { costOf, entryOf, ledger, nanos, soundChain, sum, walletAtRest } from "./books.mjs";
import { dear, pepper, start, until } from "./harness.mjs";

let here;
// A hold is open for a second before it counts as lost; no other call of these tests lasts that long.
before(async () => { here = await start({ vars: { HOLD_SETTLE_BY_S: "1", OUTBOX_FLUSH_MS: "300" } }); });
after(() => here.close());

const walletOf = async (own) => (await here.call("GET", "/admin/v1/wallet", own.adminKey)).body;
const atRest = (own) => walletAtRest(here.call, own.adminKey);
const entriesOf = (own) => ledger(here.call, own.adminKey);
const budgetOf = async (own, scope, window = "day") => (await here.call("GET", `/admin/v1/${scope}/budgets/${window}`, own.adminKey)).body;
const putBudget = async (own, scope, body, window = "day") => {
  const answer = await here.call("PUT", `/admin/v1/${scope}/budgets/${window}`, own.adminKey, body);
  assert.equal(answer.status, 200, JSON.stringify(answer.body));
  return answer.body;
};

/** An organisation with a dear provider of its own. */
async function spender(name, options) {
  const own = await here.newOrganization(options);
  const model = await here.newProvider(own, name, { models: [dear] });
  return { ...own, spend: (body) => here.ask(own.key, { model, max_tokens: 10, ...body }), model, name };
}

// ---- ledger and wallet -----------------------------------------------------------------------------------------------

test("every call is in the ledger within three seconds, and the wallet agrees with it", async () => {
  const own = await spender("ledger", { credit_usd: "3" });
  const costs = [];
  for (const stream of [false, true, false]) {
    costs.push(costOf(await own.spend({ stream })));
  }
  const entries = await until("four entries", async () => {
    const entries = await entriesOf(own);
    return entries.length === 4 && entries;
  });
  soundChain(entries);
  assert.deepEqual(entries.map(({ kind }) => kind), ["usage", "usage", "usage", "credit"]);
  assert.deepEqual(entries.slice(0, 3).map(({ amount_usd }) => amount_usd), costs.map((cost) => `-${cost}`).reverse());
  assert.equal(entries[0].call.api_key_id, own.keyId);
  const wallet = await atRest(own);
  assert.equal(nanos(wallet.credits_usd), nanos("3"));
  assert.equal(nanos(wallet.posted_usd), sum(costs));

  const { body } = await here.call("GET", "/admin/v1/requests", own.adminKey);
  assert.deepEqual(body.data.map(({ id }) => id), entries.slice(0, 3).map(({ id }) => id));
});

test("the operator's credits reach the wallet and the ledger", async () => {
  const own = await spender("credited", { credit_usd: "0" });
  const broke = await own.spend();
  assert.deepEqual([broke.status, broke.body.error.code], [402, "insufficient_credits"]);
  assert.equal(broke.headers.get("payment-required"), null, "paying per call is for callers without an account");
  assert.equal(nanos(broke.body.error.metadata.available_usd), 0n);
  assert.ok(nanos(broke.body.error.metadata.estimate_usd) > 0n);

  const path = `/platform/v1/organizations/${own.id}/credits`;
  const granted = await here.call("POST", path, here.operatorToken, { amount_usd: "0.5", reason: "trial" });
  assert.equal(granted.status, 200, JSON.stringify(granted.body));
  assert.equal((await own.spend()).status, 200);
  const entries = await until("two entries", async () => {
    const entries = await entriesOf(own);
    return entries.length === 2 && entries;
  });
  soundChain(entries);
  assert.deepEqual([entries[1].kind, entries[1].note, nanos(entries[1].amount_usd)], ["credit", "trial", nanos("0.5")]);
  for (const amount_usd of ["0", "-1", "0.0000000001", 1e300]) {
    const { status } = await here.call("POST", path, here.operatorToken, { amount_usd, reason: "no" });
    assert.equal(status, 400, String(amount_usd));
  }
});

test("the journal refuses to change, lose or replace an entry", async () => {
  const own = await here.newOrganization({ credit_usd: "7" });
  await until("the credit is in the journal", async () => (await entriesOf(own)).length === 1);
  const { DB } = await here.worker.getEnv();
  const run = (statement) => DB.prepare(`${statement} WHERE account = ?1`).bind(`org:${own.id}`).run();
  await assert.rejects(run("UPDATE entry SET amount = 0"), /never changed/);
  await assert.rejects(run("DELETE FROM entry"), /never deleted/);
  // Whether this is refused or ignored, it must not take effect.
  await run("REPLACE INTO entry SELECT account, seq, id, kind, at, 0, legs, call, note, prev_hash, hash FROM entry").catch(() => {});
  const [{ amount_usd, sound }] = await entriesOf(own);
  assert.deepEqual([amount_usd, sound], ["7", true]);
});

test("balances outlive the object's memory, before and after the journal has them", async () => {
  const own = await spender("evicted", { credit_usd: "5" });
  const evict = () => here.worker.evictDurableObject("ACCOUNT", { name: `org:${own.id}` });
  await putBudget(own, "organization", { limit_usd: "4", mode: "hard" });
  await own.spend();
  const [wallet, budget] = [await atRest(own), await budgetOf(own, "organization")];
  assert.ok(nanos(wallet.posted_usd) > 0n);
  await evict();
  assert.deepEqual(await walletOf(own), wallet, "from the rows that wait for the journal");
  assert.deepEqual(await budgetOf(own, "organization"), budget);
  await until("the journal has both", async () => (await entriesOf(own)).length === 2);
  await evict();
  assert.deepEqual(await walletOf(own), wallet, "from the checkpoint");
  assert.deepEqual(await budgetOf(own, "organization"), budget);
  await own.spend();
  const entries = await until("the chain goes on", async () => {
    const entries = await entriesOf(own);
    return entries.length === 3 && entries;
  });
  soundChain(entries);
});

test("a call that outlasts its hold keeps the money held, and is charged what it cost", async () => {
  const own = await spender("slow", { credit_usd: "5" });
  await here.sandbox.set(own.name, { chunk_delay_ms: 200 }); // eight words: far longer than the hold's time
  const call = own.spend({ stream: true });
  const holding = await until("the hold", async () => {
    const wallet = await walletOf(own);
    return wallet.held_usd !== "0" && wallet;
  });
  const answer = await call;
  assert.equal(answer.events.at(-1).data, "[DONE]");
  const wallet = await atRest(own);
  assert.equal(wallet.posted_usd, answer.comment.cost_usd);
  assert.ok(nanos(holding.held_usd) >= nanos(answer.comment.cost_usd), "the hold covered it");
});

// ---- budgets ---------------------------------------------------------------------------------------------------------

for (const [scope, code] of [["api_key", "api_key_budget_exceeded"], ["organization", "organization_budget_exceeded"]]) {
  test(`a spent budget of the ${scope} stops the next call and says which one it was`, async () => {
    const own = await spender(`budget-${scope.replace("_", "-")}`);
    const path = scope === "api_key" ? `api_keys/${own.keyId}` : "organization";
    // One call costs 0.008 and may cost 0.01: one fits, two do not.
    const put = await putBudget(own, path, { limit_usd: "0.015", mode: "hard" });
    assert.deepEqual([put.state.posted_usd, put.state.held_usd], ["0", "0"]);
    const first = await own.spend();
    assert.equal(first.status, 200, JSON.stringify(first.body));
    await atRest(own);
    const next = await own.spend();
    assert.deepEqual([next.status, next.body.error.type, next.body.error.code], [403, "budget_error", code]);
    assert.equal(next.headers.get("x-should-retry"), "false");
    assert.equal(next.headers.get("retry-after"), null);
    const { metadata } = next.body.error;
    assert.deepEqual(Object.keys(metadata).sort(), [
      "estimate_usd", "held_usd", "limit_usd", "max_affordable_output_tokens", "posted_usd", "resets_at", "scope_id", "scope_name", "scope_type", "window",
    ]);
    const { state } = await budgetOf(own, path);
    assert.deepEqual(
      [metadata.scope_type, metadata.window, metadata.limit_usd, metadata.posted_usd, metadata.held_usd],
      [scope, "day", "0.015", state.posted_usd, "0"],
    );
    assert.equal(metadata.resets_at, state.resets_at);
    assert.equal(state.posted_usd, first.body.usage.cost_usd);
    assert.ok(nanos(metadata.posted_usd) + nanos(metadata.estimate_usd) > nanos("0.015"));
    if (scope === "api_key") assert.equal(metadata.scope_id, own.keyId);

    await putBudget(own, path, { limit_usd: "1", mode: "hard" });
    assert.equal((await own.spend()).status, 200, "a raised limit lets the next call through");
  });
}

test("a call that no budget could hold is told so", async () => {
  const own = await spender("too-dear");
  await putBudget(own, "organization", { limit_usd: "0.001", mode: "hard" }, "lifetime");
  const answer = await own.spend();
  assert.deepEqual([answer.status, answer.body.error.code], [403, "request_exceeds_budget"]);
  assert.equal(answer.body.error.metadata.resets_at, null);
});

test("a soft budget counts and stops nothing", async () => {
  const own = await spender("soft");
  await putBudget(own, "organization", { limit_usd: "0.001", mode: "soft" });
  const answers = [await own.spend(), await own.spend()];
  assert.deepEqual(answers.map(({ status }) => status), [200, 200]);
  await atRest(own);
  const { state } = await budgetOf(own, "organization");
  assert.equal(nanos(state.posted_usd), sum(answers.map(costOf)));
});

test("two hundred calls at once never spend more than the budget", async () => {
  const own = await spender("crowd");
  await putBudget(own, `api_keys/${own.keyId}`, { limit_usd: "0.2", mode: "hard" });
  const answers = await Promise.all(Array.from({ length: 200 }, (_, i) => own.spend({ stream: i % 2 === 1 })));
  const served = answers.filter(({ status }) => status === 200);
  const refused = answers.filter(({ status }) => status !== 200);
  assert.ok(served.length >= 20, `${served.length} calls of at most 0.01 fit into 0.2`);
  for (const { status, body, headers } of refused) {
    assert.ok(["api_key_budget_exceeded", "inflight_holds_exhausted"].includes(body.error.code), JSON.stringify(body));
    assert.equal(status, body.error.code === "inflight_holds_exhausted" ? 429 : 403);
    if (status === 429) assert.ok(Number(headers.get("retry-after")) >= 1);
  }
  const wallet = await atRest(own);
  const { state } = await budgetOf(own, `api_keys/${own.keyId}`);
  assert.deepEqual([state.held_usd, state.posted_usd], ["0", wallet.posted_usd]);
  assert.equal(nanos(state.posted_usd), sum(served.map(costOf)));
  assert.ok(nanos(state.posted_usd) <= nanos("0.2"));
});

// ---- rates and keys --------------------------------------------------------------------------------------------------

function limitedTo(answer, code) {
  assert.deepEqual([answer.status, answer.body.error.type, answer.body.error.code], [429, "rate_limit_error", code]);
  const seconds = Number(answer.headers.get("retry-after"));
  assert.ok(Number.isInteger(seconds) && seconds >= 1 && seconds <= 60, `retry-after: ${seconds}`);
  assert.equal(answer.headers.get("x-should-retry"), "true");
}

test("a key's requests per minute are limited", async () => {
  const own = await spender("rpm", { key: { rpm: 2 } });
  assert.deepEqual([(await own.spend()).status, (await own.spend()).status], [200, 200]);
  limitedTo(await own.spend(), "rpm_exceeded");
});

test("a key's calls at once are limited, and an ended call makes room", async () => {
  const own = await spender("concurrency", { key: { concurrency: 1 } });
  await here.sandbox.set(own.name, { head_delay_ms: 400 });
  const first = own.spend();
  await until("the first call is under way", async () => (await here.sandbox.seen(own.name)).calls === 1);
  limitedTo(await own.spend(), "concurrency_exceeded");
  assert.equal((await first).status, 200);
  await atRest(own);
  assert.equal((await own.spend()).status, 200);
});

const alphabet = "0123456789abcdefghjkmnpqrstvwxyz";

/** A key with the seal that only the holder of the pepper can make. */
function sealed(text) {
  let bits = createHmac("sha256", pepper).update(text).digest().readUIntBE(0, 5);
  let code = "";
  for (; code.length < 8; bits = Math.floor(bits / 32)) code = alphabet[bits % 32] + code;
  return text + code;
}

test("only a key that is known, whole, alive and of the right kind opens anything", async () => {
  const own = await spender("keys");
  const [body, zeros] = [own.key.slice(0, -8), "0".repeat(26)];
  assert.equal(sealed(body), own.key, "the test seals as the worker does");
  const revoked = (await here.call("POST", "/admin/v1/api_keys", own.adminKey, { name: "old" })).body;
  assert.equal((await here.ask(revoked.secret, { model: own.model })).status, 200);
  assert.equal((await here.call("DELETE", `/admin/v1/api_keys/${revoked.id}`, own.adminKey)).status, 200);

  const bad = {
    revoked_key: [revoked.secret],
    wrong_key_kind: [own.adminKey],
    invalid_key: [
      own.key.replace(/.$/, (last) => (last === "0" ? "1" : "0")), `${own.key}0`, "mr_sk_", "mr_sk_live_1234",
      sealed(`${body.slice(0, 32)}${zeros}${body.slice(58)}`), // no such key
      sealed(`mr_sk_${zeros}${body.slice(32)}`), // no such organisation
      sealed(`${body.slice(0, -1)}${body.at(-1) === "0" ? "1" : "0"}`), // another secret
    ],
  };
  for (const [code, keys] of Object.entries(bad)) {
    for (const key of keys) {
      for (const path of ["/v1/chat/completions", "/v1/messages"]) {
        const { status, body, headers } = await here.ask(key, { model: own.model, max_tokens: 10 }, { path });
        assert.deepEqual([status, body.error.code], [401, code], `${path} ${key}`);
        assert.equal(headers.get("payment-required"), null);
      }
      assert.equal((await here.call("GET", "/v1/models", key)).status, 401, key);
    }
  }
  const { status, body: told } = await here.call("GET", "/admin/v1/wallet", own.key);
  assert.deepEqual([status, told.error.code], [401, "wrong_key_kind"]);
});

test("a long answer ends where its budget does, and says so", async () => {
  const own = await here.newOrganization();
  const models = [{ ...dear, max_output_tokens: 20_000 }];
  const model = await here.newProvider(own, "long", { models, abort_stops_billing: true });
  await putBudget(own, "organization", { limit_usd: "6" });
  const messages = [{ role: "user", content: "Count to 20000" }];
  const ask = (body) => here.ask(own.key, { model, messages, max_tokens: 20_000, ...body });
  const whole = await ask({});
  assert.deepEqual([whole.status, whole.body.error.code], [403, "request_exceeds_budget"], "nobody could end it");
  assert.equal(whole.body.error.metadata.max_affordable_output_tokens, 6_000);
  const cut = await ask({ stream: true });
  assert.equal(cut.status, 200);
  assert.ok(cut.events.some(({ data }) => data.choices?.[0]?.finish_reason === "length"), "it ends for want of length");
  const { budget_cut, cost_usd } = cut.comment;
  assert.equal(budget_cut, true);
  const wallet = await atRest(own);
  assert.equal(nanos(wallet.posted_usd), nanos(cost_usd));
  assert.ok(nanos(cost_usd) <= nanos("6") && nanos(cost_usd) > nanos("0.5"), cost_usd);
  const entry = await entryOf(here.call, own.adminKey, cut.headers.get("x-request-id"));
  assert.ok(entry.call.budget_cut && entry.call.estimated);
});

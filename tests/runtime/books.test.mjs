// The books from outside: entries and their recomputation, refunds and adjustments, receipts, and the reconciler.
import assert from "node:assert/strict";
import { createHash, createPublicKey, verify } from "node:crypto";
import { after, before, test } from "node:test";
import { entryOf, nanos } from "./books.mjs";
import { code, start, until } from "./harness.mjs";

let here, own;
before(async () => {
  here = await start({ vars: { HOLD_SETTLE_BY_S: "2", OUTBOX_FLUSH_MS: "200" } });
  own = await here.newOrganization();
});
after(() => here.close());

const admin = (path) => here.call("GET", `/admin/v1${path}`, own.adminKey);
const operator = (path, body) => here.call("POST", `/platform/v1${path}`, here.operatorToken, body);
const reconcile = async () => (await operator(`/reconcile?organization=${own.id}`)).body.data[0];

/** A call and its entry, once the journal has it. */
async function booked(body) {
  const answer = await here.ask(own.key, { model: "openai/gpt-5-mini", messages: [{ role: "user", content: "Hello" }], ...body });
  assert.equal(answer.status, 200, JSON.stringify(answer.body));
  const id = answer.headers.get("x-request-id");
  return { id, entry: await entryOf(here.call, own.adminKey, id), answer };
}

test("an entry is found by its id, at once and for ever, and computes its own charge", async () => {
  const { id, entry } = await booked({});
  assert.deepEqual((await admin(`/ledger/entries/${id}`)).body, entry);
  const { body } = await admin(`/ledger/entries/${id}/recompute`);
  assert.deepEqual([body.equal, body.sound, body.amount_usd, body.rates_are_listed], [true, true, entry.amount_usd, true]);
  const at = here.ask(own.key, { model: "openai/gpt-5-mini" }).then(({ headers }) => headers.get("x-request-id"));
  assert.equal((await admin(`/ledger/entries/${await at}`)).status, 200, "before the journal has it");
  assert.deepEqual(code(await admin("/ledger/entries/req_01kayz0000000000000000000r")), [404, "not_found"]);
  assert.deepEqual(code(await admin("/ledger/entries/nonsense")), [404, "not_found"]);
});

test("a charge is given back once, as an entry of its own", async () => {
  const { id, entry } = await booked({});
  const refund = (body) => operator(`/organizations/${own.id}/refunds`, { entry_id: id, reason: "a bad answer", ...body });
  assert.deepEqual(code(await refund({ amount_usd: "1" })), [400, "invalid_parameter"], "more than the charge");
  assert.deepEqual(code(await refund({ reason: "" })), [400, "invalid_parameter"]);
  assert.deepEqual(code(await refund({ entry_id: "req_01kayz0000000000000000000r" })), [404, "not_found"]);
  const name = `${entry.call.provider}/${entry.call.model}`;
  const costs = async () => (await admin("/costs?group_by=model")).body.data[0].results.find(({ model }) => model === name);
  const [before, spent] = [(await admin("/wallet")).body, await costs()];
  const after = await refund({});
  assert.equal(after.status, 200, JSON.stringify(after.body));
  assert.equal(Number(after.body.available_usd).toFixed(9), (Number(before.available_usd) - Number(entry.amount_usd)).toFixed(9));
  assert.deepEqual(code(await refund({})), [400, "invalid_parameter"], "twice");
  const back = await until("the refund is in the journal", async () => (await admin("/ledger/entries")).body.data.find(({ kind }) => kind === "refund"));
  assert.deepEqual([back.amount_usd, back.sound, back.note], [entry.amount_usd.slice(1), true, `${id}: a bad answer`]);
  assert.deepEqual((await admin(`/ledger/entries/${id}`)).body, entry, "the old one stays as it was");
  const now = await costs();
  assert.deepEqual([now.requests, nanos(now.amount_usd)], [spent.requests, nanos(spent.amount_usd) + nanos(entry.amount_usd)]);
});

test("an adjustment goes up and down, and never below nothing", async () => {
  const adjust = (amount_usd) => operator(`/organizations/${own.id}/adjustments`, { amount_usd, reason: "a mistake" });
  const before = Number((await admin("/wallet")).body.credits_usd);
  assert.equal(Number((await adjust("-1.5")).body.credits_usd), before - 1.5);
  assert.equal(Number((await adjust("1.5")).body.credits_usd), before);
  assert.deepEqual(code(await adjust("-1000000")), [400, "invalid_parameter"]);
  assert.deepEqual(code(await operator(`/organizations/${own.id}/credits`, { amount_usd: "-1", reason: "x" })), [400, "invalid_parameter"]);
});

test("a receipt is signed, tells the request it is for, and is only its caller's", async () => {
  const body = { model: "openai/gpt-5-mini", messages: [{ role: "user", content: "Sign this" }] };
  const { id, answer } = await booked(body);
  const sent = JSON.stringify({ messages: body.messages, model: body.model });
  const { status, body: receipt } = await here.call("GET", `/v1/receipts/${id}`, own.key);
  assert.equal(status, 200);
  const { keys: [key] } = (await here.call("GET", "/.well-known/megarouter-keys.json")).body;
  assert.equal(receipt.key_id, key.key_id);
  const sorted = (value) => Array.isArray(value) ? value.map(sorted) : value && typeof value === "object"
    ? Object.fromEntries(Object.keys(value).sort().map((name) => [name, sorted(value[name])])) : value;
  const publicKey = createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x: key.x }, format: "jwk" });
  const good = (payload) => verify(null, Buffer.from(JSON.stringify(sorted(payload))), publicKey, Buffer.from(receipt.signature, "base64url"));
  assert.ok(good(receipt.payload));
  assert.ok(!good({ ...receipt.payload, charge_usd: "0" }));
  assert.equal(receipt.payload.charge_usd, answer.body.usage.cost_usd);
  assert.equal(receipt.payload.request_hash, createHash("sha256").update(sent).digest("hex"));
  const { secret } = (await here.call("POST", "/admin/v1/api_keys", own.adminKey, { name: "another" })).body;
  assert.deepEqual(code(await here.call("GET", `/v1/receipts/${id}`, secret)), [404, "not_found"]);
  assert.equal((await here.call("GET", `/v1/receipts/${id}`, own.adminKey)).status, 200);
  assert.deepEqual(code(await here.call("GET", `/v1/receipts/${id}`)), [401, "missing_key"]);
});

test("the reconciler finds account and journal at one, and asks for what is unknown", async () => {
  // The stream opens, and its first word is later than the caller's route allows.
  await here.sandbox.set("openrouter", { first_token_delay_ms: 2_000 });
  const catalog = (await here.call("GET", "/v1/models", own.key)).body.data;
  const model = catalog.find(({ id }) => id.startsWith("openrouter/")).id.slice("openrouter/".length);
  const route = { targets: [{ provider: "openrouter", model }], fallback: false, deadlines: { first_token_ms: 400 } };
  assert.equal((await here.call("PUT", "/admin/v1/routes/hasty", own.adminKey, route)).status, 200);
  const late = await here.ask(own.key, { model: "hasty", stream: true, max_tokens: 50 });
  assert.equal(late.status, 504, JSON.stringify(late.body));
  const id = late.headers.get("x-request-id");
  const report = await until("the charge was asked for", async () => {
    const found = await reconcile();
    return (found.resolved.some((one) => one.id === id) || found.suspended === 0) && found;
  });
  assert.deepEqual(report.wrong, []);
  const entry = await until("it is booked", async () => { const found = await admin(`/ledger/entries/${id}`); return found.status === 200 && found.body; });
  assert.deepEqual([entry.call.resolved_by, entry.call.estimated], ["generation", false]);
  const at = await until("nothing waits", async () => { const found = await reconcile(); return found.waiting === 0 && found; });
  assert.deepEqual([at.agrees, at.wrong, at.fees_usd, at.open, at.suspended], [true, [], "0", 0, 0]);
  assert.ok(at.entries > 5 && at.read_through === at.entries);
  const all = (await operator("/reconcile")).body;
  assert.ok(all.data.every(({ agrees }) => agrees) && all.data.some(({ id }) => id === own.id));
  const nobody = (await operator("/reconcile?organization=org_01kayz0000000000000000000a")).body.data[0];
  assert.deepEqual([nobody.agrees, nobody.wrong.length], [false, 1]);
  assert.deepEqual(code(await operator("/reconcile?x=1")), [400, "invalid_parameter"]);
  assert.equal((await here.call("POST", "/platform/v1/reconcile", own.adminKey)).status, 401);
});

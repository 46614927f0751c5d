// Top-ups by themselves, of a saved card. The processor here is a stand-in of ours: it speaks the part of Stripe's API that the worker
// uses, with shapes written from Stripe's public reference (https://docs.stripe.com/api). Nothing was recorded from Stripe.
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { ledger, nanos } from "./books.mjs";
import { code, dear, start, until } from "./harness.mjs";

const SECRET = "whsec_of_the_stand_in";
/** What it answers to charges: `card` says how, until it is changed. */
const processor = { intents: new Map(), objects: new Map(), asked: [], card: "good" };
let here, server;

const declined = (code, decline_code) => ({ error: { type: "card_error", code, decline_code, message: "Your card was declined." } });

/** One request for a charge: the same key gets the same answer, an error of the processor's own too. */
function charge(once, form) {
  if (!processor.intents.has(once)) {
    const intent = { object: "payment_intent", id: `pi_${processor.intents.size + 1}`, amount: Number(form.get("amount")), currency: "usd",
      customer: form.get("customer"), status: "succeeded", amount_received: Number(form.get("amount")), last_payment_error: null,
      metadata: Object.fromEntries(["organization", "topup", "auto_topup"].map((name) => [name, form.get(`metadata[${name}]`)])) };
    const answers = { good: [200, intent], lost: [200, intent], broken: [500, { error: { type: "api_error" } }],
      empty: [402, declined("card_declined", "insufficient_funds")] };
    if (processor.card === "empty") Object.assign(intent, { status: "requires_payment_method", amount_received: 0 });
    processor.objects.set(`/v1/payment_intents/${intent.id}`, intent);
    processor.intents.set(once, { intent, form: form.toString(), answer: answers[processor.card] });
  }
  const known = processor.intents.get(once);
  if (known.form !== form.toString()) return [400, { error: { type: "idempotency_error" } }];
  return known.answer;
}

before(async () => {
  server = createServer(async (request, response) => {
    let body = "";
    for await (const chunk of request) body += chunk;
    const { pathname, searchParams } = new URL(request.url, "http://x"), form = new URLSearchParams(body);
    processor.asked.push({ method: request.method, pathname, form });
    const tell = (status, told) => response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(told));
    if (request.headers.authorization !== "Bearer sk_test_x") return tell(401, { error: { type: "invalid_request_error" } });
    if (request.method === "GET" && pathname === "/v1/payment_intents") {
      const data = [...processor.intents.values()].map(({ intent }) => intent).filter(({ customer }) => customer === searchParams.get("customer"));
      return tell(200, { object: "list", data, has_more: false });
    }
    if (request.method === "GET") {
      const object = processor.objects.get(pathname);
      return tell(object ? 200 : 404, object ?? { error: { type: "invalid_request_error", code: "resource_missing" } });
    }
    if (pathname === "/v1/payment_intents") {
      const answer = charge(request.headers["idempotency-key"], form);
      if (processor.card === "lost") return request.socket.destroy(); // taken, and nobody hears of it
      return tell(...answer);
    }
    const id = `cs_${processor.asked.length}`;
    tell(200, { object: "checkout.session", id, url: `https://checkout.stripe.com/c/${id}` });
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  const base = `http://127.0.0.1:${server.address().port}`;
  here = await start({ vars: { STRIPE_SECRET_KEY: "sk_test_x", STRIPE_WEBHOOK_SECRET: SECRET, STRIPE_API_BASE: base, OUTBOX_FLUSH_MS: "50" } });
});
after(async () => { server.close(); server.closeAllConnections(); await here.close(); });

/** A message as the processor signs it. */
function says(type, object) {
  const at = Math.floor(Date.now() / 1000), body = JSON.stringify({ id: "evt_1", object: "event", type, data: { object } });
  const signature = createHmac("sha256", SECRET).update(`${at}.${body}`).digest("hex");
  return here.call("POST", "/platform/v1/stripe/webhook", undefined, body, { "stripe-signature": `t=${at},v1=${signature}` });
}

const TERMS = { threshold_usd: "1", amount_usd: "5", daily_limit_usd: "10" };
const wallet = async (own) => (await here.call("GET", "/admin/v1/wallet", own.adminKey)).body;
const state = async (own) => (await wallet(own)).auto_topup_state;
const set = (own, auto_topup, key = own.adminKey) => here.call("PATCH", "/admin/v1/wallet", key, { auto_topup });
const spend = (own) => here.ask(own.key, { model: "acme/m", max_tokens: 1000 });
const charges = (own) => [...processor.intents.values()].filter(({ intent }) => intent.metadata.organization === own.id);
const credits = async (own, usd) => until(`${usd} were paid in`, async () => nanos((await wallet(own)).credits_usd) === nanos(usd));
const failures = async (own) => (await here.call("GET", "/admin/v1/alerts", own.adminKey)).body.data
  .filter(({ type }) => type === "wallet.auto_topup_failed").map(({ data }) => data);

/** An organisation with a card that was saved by paying a dollar, and a model whose calls cost cents. */
async function ready(customer, credit_usd = "0") {
  processor.card = "good";
  const own = await here.newOrganization({ name: customer, credit_usd });
  await here.newProvider(own, "acme", { models: [dear] });
  const asked = await here.call("POST", "/admin/v1/wallet/topups", own.adminKey, { method: "card", amount_usd: "1", save_card: true });
  assert.deepEqual([asked.status, asked.body.save_card], [201, true], JSON.stringify(asked.body));
  const { form } = processor.asked.findLast(({ pathname }) => pathname === "/v1/checkout/sessions");
  assert.deepEqual(["customer_creation", "payment_intent_data[setup_future_usage]", "payment_method_types[0]"].map((name) => form.get(name)),
    ["always", "off_session", "card"]);
  const metadata = { organization: own.id, topup: asked.body.id };
  const session = { object: "checkout.session", id: asked.body.processor_id, payment_status: "paid", amount_total: 100, currency: "usd", metadata,
    customer, payment_intent: { object: "payment_intent", id: `pi_of_${customer}`, status: "succeeded", amount_received: 100, currency: "usd", metadata,
      setup_future_usage: "off_session", payment_method: { object: "payment_method", id: `pm_of_${customer}`, card: { brand: "visa", last4: "4242" } } } };
  processor.objects.set(`/v1/checkout/sessions/${session.id}`, session);
  processor.objects.set(`/v1/payment_intents/pi_of_${customer}`, session.payment_intent);
  assert.equal((await says("checkout.session.completed", session)).body.booked, 1);
  assert.equal((await says("payment_intent.succeeded", session.payment_intent)).body.booked, 0, "a session's own payment is booked with it");
  return { ...own, customer };
}

test("a wallet that runs low is topped up, once, whoever tells of it", async () => {
  const own = await ready("cus_a");
  assert.deepEqual([(await wallet(own)).auto_topup, (await state(own)).status, (await state(own)).card], [null, "off", "visa 4242"]);
  assert.equal(charges(own).length, 0);
  const told = await set(own, { ...TERMS, threshold_usd: "0.999" });
  assert.deepEqual([told.status, told.body.auto_topup], [200, { ...TERMS, threshold_usd: "0.999" }]);
  assert.equal((await spend(own)).status, 200, "the call that brings it below");
  await credits(own, "6");
  const [{ intent, form }] = charges(own);
  const fields = new URLSearchParams(form);
  assert.deepEqual(["amount", "currency", "customer", "payment_method", "off_session", "confirm"].map((name) => fields.get(name)),
    ["500", "usd", "cus_a", "pm_of_cus_a", "true", "true"]);
  for (let times = 0; times < 2; times += 1) assert.equal((await says("payment_intent.succeeded", intent)).body.booked, 1);
  assert.equal((await wallet(own)).credits_usd, "6");
  assert.equal(charges(own).length, 1);
  const after = await state(own);
  assert.deepEqual([after.status, after.charged_usd, after.failure], ["active", "5", null]);
  assert.ok(!JSON.stringify(await wallet(own)).includes("cus_a"), "the processor's names are not told");
  const entry = await until("it is in the ledger", async () =>
    (await ledger(here.call, own.adminKey)).find(({ note }) => note === `topped up by card: ${intent.id}`));
  assert.deepEqual([entry.kind, entry.legs[0]], ["credit", { account: "asset:processor:stripe", amount_usd: "-5" }]);
  const rows = await until("the trail says who switched it on", async () =>
    (await here.call("GET", "/admin/v1/audit_logs?event_type=wallet.updated", own.adminKey)).body.data);
  assert.deepEqual(rows[0].after, { auto_topup: { ...TERMS, threshold_usd: "0.999" } });
});

test("a charge whose answer was lost is asked for again under its own name, and taken once", async () => {
  const own = await ready("cus_b");
  processor.card = "lost";
  await set(own, { ...TERMS, threshold_usd: "2" });
  await until("it was charged", () => charges(own).length === 1);
  assert.equal((await state(own)).status, "charging");
  processor.card = "good";
  await until("it is known", async () => nanos((await wallet(own)).credits_usd) === nanos("6"), { ms: 15_000 });
  assert.deepEqual([charges(own).length, (await state(own)).status, await failures(own)], [1, "active", []]);
});

test("an error of the processor's own is looked after, not charged once more", async () => {
  const own = await ready("cus_c");
  processor.card = "broken";
  await set(own, { ...TERMS, threshold_usd: "2" });
  await until("it was charged", () => charges(own).length === 1);
  await until("it is found", async () => nanos((await wallet(own)).credits_usd) === nanos("6"), { ms: 15_000 });
  assert.equal(charges(own).length, 1);
});

test("a card that is declined is told of, and another brings it on again", async () => {
  const own = await ready("cus_d");
  processor.card = "empty";
  await set(own, { ...TERMS, threshold_usd: "2" });
  const [failure] = await until("somebody is told", async () => (await failures(own)).length && failures(own));
  assert.deepEqual([failure.reason, failure.status], ["insufficient_funds", "active"]);
  assert.equal((await state(own)).failure, "insufficient_funds");
  assert.equal((await wallet(own)).credits_usd, "1");
  assert.equal(charges(own).length, 1, "not again before an hour has passed");
  processor.card = "good";
  await set(own, { ...TERMS, threshold_usd: "2" });
  await credits(own, "6");
});

test("a day has a limit, whatever is spent", async () => {
  const own = await ready("cus_e");
  await set(own, { ...TERMS, threshold_usd: "100" });
  await credits(own, "11");
  const [failure] = await until("somebody is told", async () => (await failures(own)).length && failures(own));
  assert.deepEqual([failure.reason, (await state(own)).charged_usd], ["daily_limit", "10"]);
  for (let times = 0; times < 3; times += 1) await spend(own);
  assert.deepEqual([charges(own).length, (await failures(own)).length], [2, 1]);
});

test("switched off, suspended, or after a dispute nothing is charged", async () => {
  const own = await ready("cus_f", "10");
  await set(own, { ...TERMS, threshold_usd: "5" });
  await here.call("PATCH", `/platform/v1/organizations/${own.id}`, here.operatorToken, { status: "suspended" });
  await here.call("POST", `/platform/v1/organizations/${own.id}/adjustments`, here.operatorToken, { amount_usd: "-9", reason: "test" });
  await here.call("PATCH", `/platform/v1/organizations/${own.id}`, here.operatorToken, { status: "closed" });
  assert.equal(charges(own).length, 0);
  const other = await ready("cus_g", "10");
  await set(other, { ...TERMS, threshold_usd: "5" });
  const dispute = { object: "dispute", id: "dp_1", status: "needs_response", amount: 1000, currency: "usd",
    payment_intent: { metadata: { organization: other.id } } };
  processor.objects.set("/v1/disputes/dp_1", dispute);
  await says("charge.dispute.funds_withdrawn", dispute);
  assert.deepEqual([(await state(other)).status, (await state(other)).failure], ["paused", "taken_back"]);
  const off = await set(other, null);
  assert.deepEqual([off.body.auto_topup, off.body.auto_topup_state.status, off.body.auto_topup_state.card], [null, "off", null]);
  await set(other, { ...TERMS, threshold_usd: "5" });
  assert.equal((await state(other)).status, "no_card", "the card is forgotten");
  assert.equal(charges(other).length, 0);
});

test("only owners and those who pay switch it on, each for its own organisation", async () => {
  const own = await ready("cus_h", "10"), other = await ready("cus_i", "10");
  for (const [role, status] of [["admin", 403], ["auditor", 403], ["billing", 200]]) {
    const member = await here.call("POST", "/admin/v1/members", own.adminKey, { name: role, roles: [{ role }] });
    const key = await here.call("POST", "/admin/v1/api_keys", own.adminKey, { name: role, kind: "admin", owner_member_id: member.body.id });
    assert.equal((await set(own, TERMS, key.body.secret)).status, status, role);
  }
  assert.equal((await set(own, TERMS, own.key)).status, 401);
  assert.equal((await wallet(other)).auto_topup, null, "another's is another's");
  const bad = await here.call("POST", "/admin/v1/wallet/topups", own.adminKey, { method: "stablecoin", amount_usd: "5", save_card: true });
  assert.deepEqual([bad.status, bad.body.error?.param], [400, "save_card"]);
  assert.deepEqual(code(await set(own, { ...TERMS, daily_limit_usd: "4" })), [400, "invalid_parameter"]);
});

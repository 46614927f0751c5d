// Top-ups by card. The processor here is a stand-in of ours: it speaks the part of Stripe's API that the worker uses, with shapes
// written from Stripe's public reference (https://docs.stripe.com/api). Nothing was recorded from Stripe.
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { ledger, nanos, soundChain } from "./books.mjs";
import { code, start, until } from "./harness.mjs";

const SECRET = "whsec_of_the_stand_in";
const processor = { asked: [], objects: new Map(), sessions: new Map() };
let here, own, server;

before(async () => {
  server = createServer(async (request, response) => {
    let body = "";
    for await (const chunk of request) body += chunk;
    const { pathname } = new URL(request.url, "http://x");
    processor.asked.push({ method: request.method, pathname, headers: request.headers, form: new URLSearchParams(body) });
    const tell = (status, told) => response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(told));
    if (request.headers.authorization !== "Bearer sk_test_x") return tell(401, { error: { message: "no key" } });
    if (request.method === "GET") {
      const object = processor.objects.get(pathname);
      return tell(object ? 200 : 404, object ?? { error: { code: "resource_missing" } });
    }
    const once = request.headers["idempotency-key"];
    if (!processor.sessions.has(once)) {
      const id = `cs_test_${processor.sessions.size + 1}`, form = new URLSearchParams(body);
      processor.sessions.set(once, { object: "checkout.session", id, url: `https://checkout.stripe.com/c/${id}`, payment_status: "unpaid",
        amount_total: Number(form.get("line_items[0][price_data][unit_amount]")), currency: "usd",
        metadata: { organization: form.get("metadata[organization]") } });
    }
    tell(200, processor.sessions.get(once));
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  const base = `http://127.0.0.1:${server.address().port}`;
  here = await start({ vars: { STRIPE_SECRET_KEY: "sk_test_x", STRIPE_WEBHOOK_SECRET: SECRET, STRIPE_API_BASE: base } });
  own = await here.newOrganization({ name: "Acme" });
});
after(async () => { server.close(); await here.close(); });

const topup = (body, more) => here.call("POST", "/admin/v1/wallet/topups", own.adminKey, { method: "card", ...body }, more);
const wallet = async () => (await here.call("GET", "/admin/v1/wallet", own.adminKey)).body;

/** A message as the processor signs it. */
function says(type, object, { secret = SECRET, at = Math.floor(Date.now() / 1000) } = {}) {
  const body = JSON.stringify({ id: "evt_1", object: "event", type, data: { object } });
  const signature = createHmac("sha256", secret).update(`${at}.${body}`).digest("hex");
  return here.call("POST", "/platform/v1/stripe/webhook", undefined, body, { "stripe-signature": `t=${at},v1=${signature}` });
}

const intent = () => ({ id: "pi_1", object: "payment_intent", metadata: { organization: own.id } });

test("a top-up is a page to pay at, and money once it was paid", async () => {
  const asked = await topup({ amount_usd: "25" }, { "idempotency-key": "t-1" });
  assert.deepEqual([asked.status, asked.body.status, asked.body.amount_usd], [201, "pending", "25"], JSON.stringify(asked.body));
  assert.match(asked.body.url, /^https:\/\/checkout\.stripe\.com\//);
  assert.deepEqual((await topup({ amount_usd: "25" }, { "idempotency-key": "t-1" })).body, asked.body, "asked again it is the same page");
  const { form } = processor.asked[0];
  assert.deepEqual([form.get("line_items[0][price_data][unit_amount]"), form.get("client_reference_id")], ["2500", own.id]);
  const before = await wallet();
  const session = [...processor.sessions.values()][0];
  processor.objects.set(`/v1/checkout/sessions/${session.id}`, session);
  assert.deepEqual((await says("checkout.session.completed", session)).body.booked, 0, "not paid yet, whatever the message says");
  session.payment_status = "paid";
  for (const expected of [1, 1]) assert.equal((await says("checkout.session.completed", { id: session.id })).body.booked, expected);
  const now = await wallet();
  assert.equal(nanos(now.credits_usd) - nanos(before.credits_usd), nanos("25"), "once");
  const entry = await until("it is in the ledger", async () =>
    (await ledger(here.call, own.adminKey)).find(({ note }) => note === `paid by card: ${session.id}`));
  assert.deepEqual([entry.kind, entry.legs[0]], ["credit", { account: "asset:processor:stripe", amount_usd: "-25" }]);
});

test("what the card's holder gets back leaves the wallet, also below nothing, and blocks it", async () => {
  const refund = { object: "refund", id: "re_1", status: "pending", amount: 500, currency: "usd", metadata: {}, payment_intent: intent() };
  processor.objects.set("/v1/refunds/re_1", refund);
  const before = nanos((await wallet()).available_usd);
  await says("refund.created", refund);
  assert.equal(nanos((await wallet()).available_usd), before, "it is only under way");
  refund.status = "succeeded";
  for (let times = 0; times < 2; times += 1) await says("refund.updated", refund);
  assert.equal(nanos((await wallet()).available_usd), before - nanos("5"));
  const dispute = { object: "dispute", id: "dp_1", status: "needs_response", amount: 10_000_00, currency: "usd", payment_intent: intent() };
  processor.objects.set("/v1/disputes/dp_1", dispute);
  await says("charge.dispute.funds_withdrawn", dispute);
  assert.ok(nanos((await wallet()).available_usd) < 0n);
  assert.deepEqual(code(await here.ask(own.key, { model: "openai/gpt-5-nano", max_tokens: 20 })), [402, "insufficient_credits"]);
  dispute.status = "won";
  await says("charge.dispute.closed", dispute);
  assert.equal(nanos((await wallet()).available_usd), before - nanos("5"));
  await until("all of it is in the ledger", async () => {
    const entries = await ledger(here.call, own.adminKey);
    return entries.some(({ note }) => note === "dispute won: dp_1") && (soundChain(entries), true);
  });
});

test("only a message that the processor signed just now is taken", async () => {
  const object = { id: "re_1" }, old = Math.floor(Date.now() / 1000) - 600;
  for (const told of [await says("refund.created", object, { secret: "whsec_other" }), await says("refund.created", object, { at: old })]) {
    assert.deepEqual(code(told), [401, "invalid_signature"]);
  }
  assert.equal((await here.call("POST", "/platform/v1/stripe/webhook", undefined, "{}")).status, 401);
  assert.equal((await says("customer.created", { id: "cus_1" })).body.booked, 0, "other messages are none of ours");
  assert.equal((await says("refund.created", { id: "re_unknown" })).status, 503, "it is sent again later");
});

test("a top-up has bounds, and is for owners and those who pay", async () => {
  for (const [body, param] of [
    [{ amount_usd: "0.50" }, "amount_usd"], [{ amount_usd: "10.001" }, "amount_usd"], [{ amount_usd: "100001" }, "amount_usd"],
    [{ amount_usd: "5", method: "usdc" }, "method"], [{ amount_usd: "5", return_url: "http://acme.com" }, "return_url"],
  ]) {
    const told = await topup(body);
    assert.deepEqual([told.status, told.body.error.param], [400, param], JSON.stringify(told.body));
  }
  const member = await here.call("POST", "/admin/v1/members", own.adminKey, { name: "Boss", roles: [{ role: "admin" }] });
  const key = await here.call("POST", "/admin/v1/api_keys", own.adminKey, { name: "boss", kind: "admin", owner_member_id: member.body.id });
  const told = await here.call("POST", "/admin/v1/wallet/topups", key.body.secret, { method: "card", amount_usd: "5" });
  assert.deepEqual(code(told), [403, "role_required"]);
});

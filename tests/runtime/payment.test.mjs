// What an agent without an account is told: what the call costs, and how to pay for it.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { start } from "./harness.mjs";

const payTo = "0x90F79bf6EB2c4f870365E785982E1f101E93b906";
const model = "openai/gpt-5-mini";

let here;
before(async () => { here = await start({ vars: { X402_PAY_TO: payTo, X402_NETWORK: "eip155:84532" } }); });
after(() => here.close());

const decoded = (answer) => JSON.parse(Buffer.from(answer.headers.get("payment-required"), "base64"));

function asksForPayment(answer, path) {
  assert.equal(answer.status, 402, JSON.stringify(answer.body));
  assert.equal(answer.headers.get("cache-control"), "no-store");
  assert.match(answer.headers.get("x-request-id"), /^req_/);
  assert.ok(answer.headers.get("payment-required").length <= 4096, "some intermediaries refuse longer headers");

  const required = decoded(answer);
  assert.equal(required.x402Version, 2);
  assert.ok(required.resource.url.endsWith(path), required.resource.url);
  // Without a facilitator there is nobody whom `upto` or a channel could be settled by: `exact` alone is left.
  const [offer] = required.accepts;
  assert.deepEqual(required.accepts.map(({ scheme }) => scheme), ["exact", "exact"]);
  assert.deepEqual([offer.network, offer.asset, offer.payTo], ["eip155:84532", "0x036cbd53842c5426634e7929541ec2318f3dcf7e", payTo.toLowerCase()]);
  assert.match(offer.amount, /^[1-9]\d*$/);
  const { quote, ...extra } = offer.extra;
  assert.match(quote, /^\d+\.balanced\.[0-9a-f]{8}\.[\w-]{22}$/);
  assert.deepEqual(extra, { name: "USDC", version: "2", paymentFlow: "upfront" });
  assert.ok(offer.maxTimeoutSeconds > 0);

  assert.equal(answer.body.x402Version, 1);
  const [old] = answer.body.accepts;
  assert.deepEqual(
    [old.scheme, old.network, old.maxAmountRequired, old.payTo, old.asset],
    ["exact", "base-sepolia", offer.amount, payTo.toLowerCase(), offer.asset],
  );
  assert.ok(old.resource.endsWith(path));
  // Anthropic's own word for it, where its API is spoken.
  assert.equal(answer.body.error.type, path === "/v1/messages" ? "billing_error" : "payment_required");
  assert.equal(answer.body.error.code, "x402_payment_required");
  return BigInt(offer.amount);
}

test("a call without a key of ours is asked for payment, in both generations of x402", async () => {
  for (const [name, headers] of [
    ["no credential", {}], ["another's key", { authorization: "Bearer sk-proj-1234" }],
    ["another's x-api-key", { "x-api-key": "sk-ant-1234" }], ["another scheme", { authorization: "Basic bXJfc2s6" }],
  ]) {
    for (const path of ["/v1/chat/completions", "/v1/messages"]) {
      for (const stream of [false, true]) {
        const answer = await here.ask(undefined, { model, max_tokens: 100, stream }, { path, headers });
        assert.ok(asksForPayment(answer, path) > 0n, name);
      }
    }
  }
});

test("the amount is the most the call can cost, rounded up to the token's unit", async () => {
  const row = (await here.call("GET", `/v1/models/${model}`)).body;
  const amount = async (max_tokens) => asksForPayment(await here.ask(undefined, { model, max_tokens }), "/v1/chat/completions");
  const [small, large] = [await amount(1000), await amount(101_000)];
  // A millionth of a dollar is one unit.
  assert.equal(large - small, BigInt(Math.round(100_000 * Number(row.pricing.completion) * 1e6)));
});

test("a challenge wakes no object", async () => {
  const objects = async () => [await here.worker.listDurableObjectIds("ACCOUNT"), await here.worker.listDurableObjectIds("HEALTH")];
  await here.newOrganization();
  const before = await objects();
  for (const key of [undefined, "sk-1", "sk-2"]) asksForPayment(await here.ask(key, { model }), "/v1/chat/completions");
  assert.deepEqual(await objects(), before);
});

test("a bad request is told so before it is asked for payment", async () => {
  const messages = [{ role: "user", content: "Hi" }];
  for (const [status, body] of [
    [400, "{"], [400, { model }], [400, { model, messages, megarouter: { max_cost: "1" } }], [404, { model: "openai/nothing", messages }],
  ]) {
    const answer = await here.call("POST", "/v1/chat/completions", undefined, body);
    assert.equal(answer.status, status, JSON.stringify(answer.body));
    assert.equal(answer.headers.get("payment-required"), null);
    assert.equal(answer.body.accepts, undefined);
  }
});

test("everything but inference asks for a credential, not for payment", async () => {
  for (const [method, path, token] of [
    ["GET", "/admin/v1/wallet"], ["GET", "/admin/v1/api_keys", "sk-1"], ["POST", "/admin/v1/api_keys"],
    ["GET", "/platform/v1/catalog"], ["POST", "/platform/v1/organizations", "sk-1"],
  ]) {
    const answer = await here.call(method, path, token, method === "POST" ? { name: "x" } : undefined);
    assert.equal(answer.status, 401, `${method} ${path}`);
    assert.equal(answer.headers.get("payment-required"), null);
    assert.equal(answer.body.error.type, "authentication_error");
  }
});

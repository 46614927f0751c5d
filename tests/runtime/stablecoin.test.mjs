// Stablecoins beyond single calls: into an organisation's wallet, back out of a payer's, and in the name of a member.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { keyOf, merchant, USDC } from "../x402/chain.mjs";
import { fetchV2 } from "../x402/clients/fetch_v2.mjs";
import { startRig } from "../x402/rig.mjs";
import { start, until } from "./harness.mjs";

const model = "openai/gpt-5-mini";
const body = { model, max_tokens: 200, messages: [{ role: "user", content: "Hello!" }] };

let rig, here, url;
before(async () => {
  rig = await startRig();
  here = await start({
    vars: {
      X402_PAY_TO: merchant.address, X402_NETWORK: "eip155:84532", X402_FACILITATORS: rig.facilitatorUrl, X402_RPC_URL: rig.rpcUrl,
      X402_REFUND_KEY: keyOf(merchant), X402_CLAIM_AFTER_S: "600",
    },
  });
  url = new URL("/v1/chat/completions", here.url).href;
});
after(async () => { await here?.close(); await rig?.close(); });

/** Units as dollars. */
const usd = (units) => Number(units) / 1e6;

/** Asks as a wallet that signs in: first what is to be signed, then with the signature. */
async function signedIn(wallet, method, path) {
  const at = new URL(path, here.url).href;
  const { error } = await (await fetch(at, { method })).json();
  const { info, supportedChains: [{ chainId, type }] } = error.metadata.sign_in;
  const message = `${info.domain} wants you to sign in with your Ethereum account:\n${wallet.address}\n\n\nURI: ${info.uri}\n` +
    `Version: 1\nChain ID: 84532\nNonce: ${info.nonce}\nIssued At: ${info.issuedAt}`;
  const signature = await wallet.signMessage({ message });
  const proof = Buffer.from(JSON.stringify({ ...info, address: wallet.address, chainId, type, signature })).toString("base64");
  const answer = await fetch(at, { method, headers: { "sign-in-with-x": proof } });
  return { status: answer.status, body: await answer.json() };
}

test("an admin pays into the shared pool by stablecoin, once per payment", async () => {
  const own = await here.newOrganization();
  const wallet = await rig.fresh({ usdc: 5_000_000n });
  const client = fetchV2({ key: wallet.key, rpcUrl: rig.rpcUrl, schemes: ["exact"], maxAmountPerPayment: "5000000" });
  const before = await rig.balance(USDC, merchant);
  const funds = async () => (await here.call("GET", "/admin/v1/wallet", own.adminKey)).body;
  const had = await funds();
  const topups = new URL("/admin/v1/wallet/topups", here.url).href;
  const sent = { method: "POST", headers: { authorization: `Bearer ${own.adminKey}`, "content-type": "application/json" },
    body: JSON.stringify({ method: "stablecoin", amount_usd: "2.5" }) };
  const answer = await client.fetch(topups, sent);
  const told = await answer.json();
  assert.equal(answer.status, 201, JSON.stringify(told));
  assert.equal(told.status, "paid");
  assert.equal(await rig.balance(USDC, merchant) - before, 2_500_000n);
  assert.equal(Number((await funds()).available_usd) - Number(had.available_usd), 2.5);
  const again = await fetch(topups, { ...sent, headers: { ...sent.headers, "payment-signature": Buffer.from(JSON.stringify(client.exchanges.at(-1).payment)).toString("base64") } });
  assert.equal(again.status, 201, "whoever did not hear of it may ask again");
  assert.equal(Number((await funds()).available_usd) - Number(had.available_usd), 2.5);
  const keyless = await fetch(topups, { ...sent, headers: { "content-type": "application/json" } });
  assert.equal(keyless.status, 401);
});

test("a wallet calls in the name of a member, under the member's budget, without a payment, and beyond it pays by itself", async () => {
  const own = await here.newOrganization();
  const wallet = await rig.fresh({ usdc: 5_000_000n });
  const { body: member } = await here.call("POST", "/admin/v1/members", own.adminKey, { name: "Agent", wallet: wallet.address });
  assert.equal(member.wallet, wallet.address.toLowerCase());
  const headers = { "sign-in-organization": own.id };
  const client = fetchV2({ key: wallet.key, rpcUrl: rig.rpcUrl, schemes: ["exact"], siwx: true });
  const { answer } = await client.call({ url, body, headers });
  assert.ok(answer.usage?.cost_usd, JSON.stringify(answer));
  assert.ok(client.exchanges.every(({ payment }) => !payment), "nothing was paid");
  await here.call("PUT", `/admin/v1/members/${member.id}/budgets/day`, own.adminKey, { limit_usd: "0.0000001", mode: "hard" });
  const beyond = await client.call({ url, body, headers });
  assert.ok(beyond.answer.usage?.cost_usd, JSON.stringify(beyond.answer));
  const [asked, refused, paid] = client.exchanges.slice(-3);
  assert.deepEqual([asked.status, refused.status, !!refused.signIn, paid.status, !!paid.payment], [402, 402, true, 200, true]);
  assert.equal(refused.required.error, "request_exceeds_budget");
  assert.equal(await rig.balance(USDC, wallet), 5_000_000n - BigInt(paid.payment.accepted.amount));
  const { body: gone } = await here.call("PATCH", `/admin/v1/members/${member.id}`, own.adminKey, { wallet: null });
  assert.equal(gone.wallet, null);
  const other = await client.call({ url, body, headers });
  assert.equal(other.answer.error?.code, "role_required", JSON.stringify(other.answer));
});

test("a keyed call that its organisation does not pay for is told a price only where the organisation wants it", async () => {
  const own = await here.newOrganization({ credit_usd: "0" });
  const wallet = await rig.fresh({ usdc: 5_000_000n });
  const keyed = (key) => ({ authorization: `Bearer ${key}` });
  const client = fetchV2({ key: wallet.key, rpcUrl: rig.rpcUrl, schemes: ["exact"] });
  const call = (key = own.key) => client.call({ url, body, headers: keyed(key) });
  const without = await here.call("POST", "/v1/chat/completions", own.key, body);
  assert.deepEqual([without.status, without.body.error.code, without.headers.get("payment-required")], [402, "insufficient_credits", null]);
  const { status, body: changed } = await here.call("PATCH", "/admin/v1/organization", own.adminKey, { payment_challenge: true });
  assert.deepEqual([status, changed.payment_challenge], [200, true]);
  const { answer } = await call();
  assert.ok(answer.usage?.cost_usd, JSON.stringify(answer));
  const [refused, paid] = client.exchanges.slice(-2);
  assert.deepEqual([refused.status, refused.required.error, paid.status], [402, "insufficient_credits", 200]);
  assert.equal(await rig.balance(USDC, wallet), 5_000_000n - BigInt(paid.payment.accepted.amount));
  assert.equal((await here.call("GET", "/admin/v1/wallet", own.adminKey)).body.posted_debits_usd ?? "0", "0", "the organisation paid nothing");
  // A key that is none any more is refused, whatever is shown beside it.
  const payment = Buffer.from(JSON.stringify(paid.payment)).toString("base64");
  const shown = (key) => here.call("POST", "/v1/chat/completions", key, body, { "payment-signature": payment });
  assert.equal((await shown(own.key)).body.object, "payment.used");
  const { body: keys } = await here.call("GET", "/admin/v1/api_keys", own.adminKey);
  for (const { id, kind } of keys.data) if (kind !== "admin") await here.call("DELETE", `/admin/v1/api_keys/${id}`, own.adminKey);
  const gone = await shown(own.key);
  assert.deepEqual([gone.status, gone.headers.get("payment-required")], [401, null], JSON.stringify(gone.body));
});

test("what a wallet has left is told to it alone, and goes back to it on chain", async () => {
  const wallet = await rig.fresh({ usdc: 5_000_000n });
  const client = fetchV2({ key: wallet.key, rpcUrl: rig.rpcUrl, schemes: ["exact"] });
  const { answer } = await client.call({ url, body });
  const { payment, receipt } = client.exchanges.at(-1);
  const cost = Number(answer.usage.cost_usd);
  const balance = await until("the call is posted", async () => {
    const { body } = await signedIn(wallet, "GET", "/v1/balance");
    return Number(body.spent_usd) > 0 && body;
  });
  assert.equal(balance.payer, wallet.address.toLowerCase());
  assert.equal(Number(balance.paid_usd), usd(payment.accepted.amount));
  assert.ok(Math.abs(Number(balance.available_usd) - (usd(payment.accepted.amount) - cost)) < 1e-9);
  const id = await until("the receipt is there", async () => {
    const told = await signedIn(wallet, "GET", `/v1/receipts/${answer.megarouter?.request_id ?? client.exchanges.at(-1).requestId ?? "req_x"}`);
    return told.status === 200 && told.body;
  }, { ms: 500 }).catch(() => undefined);
  if (id) assert.equal(id.payload.payment.transaction, receipt.transaction);
  const before = await rig.balance(USDC, wallet);
  // What was not seen on chain yet is not sent back.
  const refund = await until("the payment was seen on chain", async () => {
    const told = await signedIn(wallet, "POST", "/v1/refund");
    assert.equal(told.status, 202, JSON.stringify(told.body));
    return Number(told.body.amount_usd) > 0 && told;
  }, { ms: 10_000 });
  await until("it is back", async () => await rig.balance(USDC, wallet) > before);
  assert.equal(await rig.balance(USDC, wallet) - before, BigInt(Math.round(Number(refund.body.amount_usd) * 1e6)));
  const after = (await signedIn(wallet, "GET", "/v1/balance")).body;
  assert.ok(Number(after.available_usd) < 1e-6, JSON.stringify(after));
});

test("a channel that is left gives back what was not charged", async () => {
  const wallet = await rig.fresh({ usdc: 5_000_000n });
  const client = fetchV2({ key: wallet.key, rpcUrl: rig.rpcUrl, schemes: ["batch-settlement"] });
  const income = await rig.balance(USDC, merchant);
  const { answer } = await client.call({ url, body });
  const charged = BigInt(Math.ceil(Number(answer.usage.cost_usd) * 1e6 - 1e-6));
  await until("the call is posted", async () => Number((await signedIn(wallet, "GET", "/v1/balance")).body.spent_usd) > 0);
  const refund = await signedIn(wallet, "POST", "/v1/refund");
  assert.equal(refund.status, 202, JSON.stringify(refund.body));
  await until("it is back", async () => await rig.balance(USDC, wallet) === 5_000_000n - charged, { ms: 5000 })
    .catch((error) => { console.log(JSON.stringify(rig.control.log.at(-1))); throw error; });
  await until("we have ours", async () => await rig.balance(USDC, merchant) - income === charged, { ms: 5000 });
});

test("where calls can be paid is told to everybody", async () => {
  const { data } = await (await fetch(new URL("/v1/payment-options", here.url))).json();
  assert.deepEqual(new Set(data.map(({ scheme }) => scheme)), new Set(["batch-settlement", "upto", "exact"]));
  assert.ok(data.every(({ network, pay_to: to }) => network === "eip155:84532" && to === merchant.address.toLowerCase()));
});

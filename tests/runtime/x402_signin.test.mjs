// A wallet signs in: it draws on what earlier payments left, sees its balance and its receipts, and nobody else does. And what was paid
// for a call that failed stays its own.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { nanos } from "./books.mjs";
import { code, until } from "./harness.mjs";
import { body, encoded, merchant, provider, startPaid, units } from "./wallets.mjs";

let paid;
before(async () => { paid = await startPaid(); });
after(() => paid?.close());

/** A wallet with a balance: an exact payment for a dear call leaves most of it. */
async function prepaid() {
  const wallet = await paid.fresh();
  const client = paid.clientOf(wallet, { schemes: ["exact"] });
  const { answer } = await client.call({ url: paid.url, body: { ...body, max_tokens: 20_000 } });
  assert.equal(client.exchanges.at(-1).status, 200, JSON.stringify(answer));
  return { wallet, balance: await paid.restOf(wallet) };
}

const askAs = (signIn, asked = body, path = "/v1/chat/completions") => paid.here.call("POST", path, undefined, asked, { "sign-in-with-x": signIn });
const asked = async () => (await paid.priced()).required.extensions["sign-in-with-x"];

test("a balance is drawn on by signing in, whole and streamed, and nothing moves on the chain", async () => {
  const { wallet, balance } = await prepaid();
  const client = paid.clientOf(wallet, { siwx: true });
  const { told, moved } = await paid.moved(wallet, async () => {
    const whole = await client.call({ url: paid.url, body });
    assert.deepEqual(client.exchanges.map(({ status, signIn, payment }) => [status, !!signIn, !!payment]), [[402, false, false], [200, true, false]]);
    return [whole, await paid.streamed(client.fetch, { ...body, max_tokens: 100 })];
  });
  const [whole, streamed] = told;
  assert.equal(streamed.status, 200, streamed.text);
  assert.equal(streamed.comment.payment.scheme, "balance");
  assert.deepEqual(moved, [0n, 0n]);
  const left = await paid.restOf(wallet);
  assert.equal(nanos(balance.available_usd) - nanos(left.available_usd), nanos(whole.answer.usage.cost_usd) + nanos(streamed.comment.cost_usd));
  await paid.booksOf(wallet);
});

test("calls that sign in at the same moment are all answered", async () => {
  const { wallet } = await prepaid();
  const clients = Array.from({ length: 6 }, () => paid.clientOf(wallet, { siwx: true }));
  const calls = await paid.worked();
  const { told, moved } = await paid.moved(wallet, () => Promise.all(clients.map((client) => client.call({ url: paid.url, body }))));
  assert.deepEqual(told.map(({ answer }) => answer.object ?? answer.error.code), Array(6).fill("chat.completion"));
  assert.equal(await paid.worked(), calls + 6);
  assert.deepEqual(moved, [0n, 0n]);
});

test("who has no balance signs in, is told the price again, and pays", async () => {
  const wallet = await paid.fresh();
  const client = paid.clientOf(wallet, { schemes: ["exact"], siwx: true });
  await client.call({ url: paid.url, body });
  const told = client.exchanges.map(({ status, signIn, payment }) => [status, !!signIn, !!payment]);
  assert.deepEqual(told, [[402, false, false], [402, true, false], [200, false, true]]);
});

test("a sign-in is for one request: again it gets the receipt, with another body it is refused", async () => {
  const { wallet } = await prepaid();
  const header = await paid.signIn(wallet, await asked());
  const calls = await paid.worked();
  const first = await askAs(header);
  assert.equal(first.status, 200, JSON.stringify(first.body));
  const again = await askAs(header);
  assert.deepEqual([again.status, again.body.object, again.body.request_id], [200, "payment.used", first.headers.get("x-request-id")]);
  assert.deepEqual(code(await askAs(header, { ...body, max_tokens: 100 })), [409, "x402_payment_reused"]);
  assert.equal((await askAs(header, body, "/v1/messages")).status, 402);
  assert.equal(await paid.worked(), calls + 1);
});

const at = (from) => new Date(Date.now() + from * 1000).toISOString();

const FORGED = {
  "by another wallet": { after: (told) => ({ ...told, address: merchant.address }) },
  "with a change after it was signed": { after: (told) => ({ ...told, issuedAt: at(-1) }) },
  "for another domain": { change: (told) => ({ ...told, domain: "evil.test" }) },
  "for another address of ours": { change: (told) => ({ ...told, uri: told.uri.replace(/\/v1.*/, "/v1/models") }) },
  "with a nonce of its own": { change: (told) => ({ ...told, nonce: "0123456789abcdef0123456789abcdef" }) },
  "on a chain that is not served": { chainId: "eip155:1" },
  "of a time that is over": { change: (told) => ({ ...told, expirationTime: at(-60) }) },
  "of a time that has not begun": { change: (told) => ({ ...told, notBefore: at(60) }) },
};

test("a forged, foreign or expired sign-in shows nothing and draws nothing", async () => {
  const { wallet } = await prepaid();
  const calls = await paid.worked();
  const shown = [];
  for (const [what, forge] of Object.entries(FORGED)) {
    const header = await paid.signIn(wallet, { ...await asked(), ...forge });
    const [drawn, seen] = [await askAs(header), await paid.getAs(wallet, "/v1/balance", forge)];
    if (drawn.status !== 402 || ![401, 402].includes(seen.status)) shown.push(`${what}: ${drawn.status}, ${seen.status}`);
  }
  assert.deepEqual(shown, []);
  for (const header of ["@@", encoded("[]"), encoded("null"), encoded({}), encoded("x".repeat(40_000))]) {
    const drawn = await askAs(header);
    const seen = await paid.here.call("GET", "/v1/balance", undefined, undefined, { "sign-in-with-x": header });
    assert.ok([400, 402].includes(drawn.status) && [400, 401].includes(seen.status), `${header.slice(0, 20)}: ${drawn.status}, ${seen.status}`);
  }
  assert.equal(await paid.worked(), calls);
});

test("without a sign-in there is neither a balance nor a receipt, but what is to be signed", async () => {
  for (const path of ["/v1/balance", "/v1/receipts/req_01kayz0000000000000000000r"]) {
    const { status, body: told } = await paid.here.call("GET", path);
    assert.equal(status, 401);
    assert.equal(told.error.metadata?.sign_in?.info.uri, paid.at(path), path);
  }
});

test("a receipt is its payer's alone", async () => {
  const wallet = await paid.fresh();
  const client = paid.clientOf(wallet, { schemes: ["upto"] });
  const told = await paid.streamed(client.fetch);
  const path = `/v1/receipts/${told.headers.get("x-request-id")}`;
  const own = await until("the receipt is there", async () => { const seen = await paid.getAs(wallet, path); return seen.status !== 404 && seen; });
  assert.equal(own.status, 200, JSON.stringify(own.body));
  assert.equal(own.body.payload.charge_usd, told.comment.cost_usd);
  assert.deepEqual(code(await paid.getAs(await paid.fresh(), path)), [404, "not_found"]);
  const { key } = await paid.here.newOrganization();
  assert.deepEqual(code(await paid.here.call("GET", path, key)), [404, "not_found"]);
});

for (const [what, behaviour] of [["fails", { status: 500 }], ["is rubbish", { status: 200, body: "{}" }]]) {
  test(`an answer that ${what} costs nothing: upto settles nothing, a channel is not charged, exact is all balance`, async () => {
    const failed = async (scheme) => {
      const wallet = await paid.fresh();
      await paid.here.sandbox.set(provider, behaviour);
      const client = paid.clientOf(wallet, { schemes: [scheme] });
      const { told, moved } = await paid.moved(wallet, () => client.call({ url: paid.url, body }));
      await fetch(`${paid.here.sandboxUrl}/control/${provider}`, { method: "DELETE" });
      const last = client.exchanges.at(-1);
      assert.equal(last.status, 502, JSON.stringify(told.answer));
      const balance = await paid.restOf(wallet);
      assert.equal(balance.spent_usd, "0");
      return { wallet, client, moved, balance, last };
    };

    const upto = await failed("upto");
    assert.deepEqual(upto.moved, [0n, 0n]);
    assert.deepEqual([upto.balance.available_usd, upto.balance.unsettled_usd], ["0", "0"]);

    const exact = await failed("exact");
    const amount = BigInt(exact.last.payment.accepted.amount);
    assert.deepEqual(exact.moved, [amount, amount]);
    assert.equal(nanos(exact.balance.available_usd), amount * 1000n);
    assert.match(exact.last.receipt?.transaction ?? "none: the caller is not told that it has paid", /^0x/);
    // The same payment again is served from it.
    const again = await paid.pay(exact.last.payment);
    assert.equal(again.status, 200, JSON.stringify(again.body));
    await paid.booksOf(exact.wallet);

    const batch = await failed("batch-settlement");
    const [channel] = batch.balance.channels;
    assert.deepEqual([channel.charged_usd, units(channel.deposited_usd)], ["0", batch.moved[0]]);
    assert.equal((await batch.client.call({ url: paid.url, body })).answer.object, "chat.completion");
    assert.deepEqual(batch.client.exchanges.at(-1).payment.payload.type, "voucher", "it need not deposit twice");
  });
}

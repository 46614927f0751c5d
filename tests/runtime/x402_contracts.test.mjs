// Wallets that are contracts: whether a signature is theirs only the chain can tell, and it is asked before anything rests on it.
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { nanos } from "./books.mjs";
import { code } from "./harness.mjs";
import { body, FUNDS, provider, startPaid, USDC, USDT } from "./wallets.mjs";

let paid;
before(async () => { paid = await startPaid(); });
after(() => paid?.close());
afterEach(() => paid.rig.control.reset());

const freshContract = (options) => paid.rig.freshContract({ usdc: FUNDS, ...options });
const clientOf = (wallet, options) => paid.clientOf(wallet, { account: wallet, schemes: ["exact"], ...options });
const signed = (wallet, options) => paid.signed(wallet, "exact", { options: { account: wallet, ...options } });
const drawn = async (wallet) => paid.here.call("POST", "/v1/chat/completions", undefined, body, {
  "sign-in-with-x": await paid.signIn(wallet, (await paid.priced()).required.extensions["sign-in-with-x"]),
});

for (const [what, deployed] of [["stands on the chain", true], ["will stand there with its first payment", false]]) {
  test(`a wallet whose contract ${what} pays by exact, and draws on what is left by signing in`, async () => {
    const wallet = await freshContract({ deployed });
    const client = clientOf(wallet);
    const { told, moved } = await paid.moved(wallet, () => client.call({ url: paid.url, body: { ...body, max_tokens: 20_000 } }));
    assert.equal(told.answer.object, "chat.completion", JSON.stringify(told.answer));
    const { receipt, payment } = client.exchanges.at(-1);
    const amount = BigInt(payment.accepted.amount);
    assert.deepEqual(moved, [amount, amount]);
    assert.equal(receipt.success, true);
    assert.ok(await paid.rig.reader.getCode({ address: wallet.address }), "its contract stands");
    // From then on its signatures say no more how it is deployed.
    const plain = deployed ? wallet : wallet.standing();
    const balance = await paid.restOf(plain);
    assert.equal(nanos(balance.available_usd), amount * 1000n - nanos(told.answer.usage.cost_usd));
    const answer = await drawn(plain);
    assert.equal(answer.body.object, "chat.completion", JSON.stringify(answer.body));
    const left = await paid.restOf(plain);
    assert.equal(nanos(balance.available_usd) - nanos(left.available_usd), nanos(answer.body.usage.cost_usd));
    await paid.booksOf(plain);
  });
}

test("one whose signatures are as long as a key's says so, and nobody is asked about it before", async () => {
  const wallet = await freshContract({ short: true });
  const payment = await signed(wallet);
  assert.equal(payment.payload.signature.length, 132, "65 bytes");
  const asks = paid.asks();
  const unsaid = await paid.pay(payment);
  assert.deepEqual(code(unsaid), [402, "x402_invalid"]);
  assert.match(unsaid.body.error.message, /payment-wallet: contract/);
  assert.deepEqual(paid.asks(), asks);
  const headers = { "payment-wallet": "contract" };
  const { told, moved } = await paid.moved(wallet, () => paid.pay(payment, body, { headers }));
  assert.deepEqual([told.status, ...moved], [200, BigInt(payment.accepted.amount), BigInt(payment.accepted.amount)]);
  assert.equal((await paid.pay(payment, body, { headers })).body.object, "payment.used");
  // What another has signed is refused by who can tell.
  const forged = await signed({ ...await freshContract({ short: true }), signTypedData: wallet.signTypedData });
  assert.deepEqual(code(await paid.pay(forged, body, { headers })), [402, "x402_settlement_failed"]);
  const { body: { error } } = await paid.here.call("GET", "/v1/balance");
  const signIn = await paid.signIn(wallet, error.metadata.sign_in);
  for (const [more, status] of [[{}, 401], [headers, 200]]) {
    assert.equal((await paid.here.call("GET", "/v1/balance", undefined, undefined, { "sign-in-with-x": signIn, ...more })).status, status);
  }
});

test("in USDT it pays through Permit2, which asks the contract too", async () => {
  const wallet = await freshContract({ usdt: FUNDS });
  await paid.rig.approvePermit2(wallet, USDT);
  const client = clientOf(wallet, { tokens: [USDT] });
  const { moved } = await paid.moved(wallet, () => client.call({ url: paid.url, body }), { token: USDT });
  const { status, payment } = client.exchanges.at(-1);
  assert.deepEqual([status, ...moved], [200, BigInt(payment.accepted.amount), BigInt(payment.accepted.amount)]);
});

test("what is not its contract's is refused by whoever can tell, and nothing of ours has heard of it", async () => {
  const [wallet, other] = [await freshContract(), await freshContract()];
  const payment = await signed({ ...wallet, signTypedData: other.signTypedData });
  const [asks, calls] = [paid.asks(), await paid.worked()];
  const answer = await paid.pay(payment);
  assert.deepEqual(code(answer), [402, "x402_settlement_failed"], JSON.stringify(answer.body));
  assert.ok(answer.headers.get("payment-required"), "and is told the price");
  assert.deepEqual(paid.asks(), { ...asks, verify: asks.verify + 1 }, "one look, no settlement");
  assert.equal(await paid.worked(), calls);
  assert.equal((await paid.balanceOf(wallet)).paid_usd, "0", "nothing was claimed in its name");
  assert.equal((await paid.pay(await signed(wallet))).status, 200);
});

test("a payment that comes again is known by its signature: its nonce is on chain for everybody to see", async () => {
  const wallet = await freshContract();
  const payment = await signed(wallet);
  const calls = await paid.worked();
  const first = await paid.pay(payment);
  assert.equal(first.status, 200, JSON.stringify(first.body));
  const again = await paid.pay(payment);
  assert.deepEqual([again.status, again.body.object, again.body.request_id], [200, "payment.used", first.headers.get("x-request-id")]);
  const forged = structuredClone(payment);
  forged.payload.signature = (await signed(wallet)).payload.signature;
  assert.deepEqual(code(await paid.pay(forged)), [409, "x402_payment_reused"]);
  // What failed is balance, and may be spent by the same payment alone.
  await paid.here.sandbox.set(provider, { status: 400, body: "{}" });
  const failed = await signed(wallet);
  assert.notEqual((await paid.pay(failed)).status, 200);
  await paid.here.sandbox.set(provider, {});
  forged.accepted = failed.accepted;
  forged.payload.authorization = failed.payload.authorization;
  assert.deepEqual(code(await paid.pay(forged)), [409, "x402_payment_reused"]);
  assert.equal((await paid.pay(failed)).status, 200);
  assert.ok(await paid.worked() > calls);
});

test("one that is settled after the work wants a key", async () => {
  const wallet = await freshContract();
  await paid.rig.approvePermit2(wallet, USDC);
  const payment = await paid.signed(wallet, "upto", { options: { account: wallet } });
  const asks = paid.asks();
  const answer = await paid.pay(payment);
  assert.deepEqual(code(answer), [402, "x402_invalid"]);
  assert.match(answer.body.error.message, /by the scheme exact/);
  assert.deepEqual(paid.asks(), asks, "and nobody was asked");
});

test("while nobody can be asked it is not known, and later the same payment is served", async () => {
  const wallet = await freshContract();
  const payment = await signed(wallet);
  const calls = await paid.worked();
  paid.rig.control.set({ down: true });
  const answer = await paid.pay(payment);
  assert.deepEqual(code(answer), [503, "x402_settlement_unknown"]);
  assert.equal(answer.headers.get("payment-required"), null);
  paid.rig.control.reset();
  assert.equal((await paid.pay(payment)).status, 200);
  assert.equal((await paid.pay(payment)).body.object, "payment.used");
  assert.equal(await paid.worked(), calls + 1);
});

test("who signs in for another's contract, or for one that stands nowhere, is nobody", async () => {
  const [wallet, other, unborn] = [await freshContract(), await freshContract(), await freshContract({ deployed: false })];
  for (const [who, what] of [[{ ...wallet, signMessage: other.signMessage }, "another's"], [unborn, "of none"]]) {
    const answer = await paid.getAs(who, "/v1/balance");
    assert.deepEqual(code(answer), [401, "sign_in_invalid"], `${what}: ${JSON.stringify(answer.body)}`);
    assert.deepEqual(code(await drawn(who)), [402, "sign_in_invalid"], what);
  }
});

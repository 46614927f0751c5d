// Payments that were not made for what they are sent with: none of them buys an answer, and what cannot be a payment asks nobody.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { transferOf } from "../x402/clients/forge.mjs";
import { code } from "./harness.mjs";
import { body, encoded, startPaid, units, USDT } from "./wallets.mjs";

let paid;
before(async () => { paid = await startPaid(); });
after(() => paid?.close());

/** Nothing is worked, settled or moved by it. */
async function buysNothing(wallet, work) {
  const [calls, asks] = [await paid.worked(), paid.asks()];
  const { told, moved } = await paid.moved(wallet, work);
  assert.deepEqual([await paid.worked(), paid.asks(), moved], [calls, asks, [0n, 0n]]);
  return told;
}

for (const [scheme, times] of [["exact", 1000], ["upto", 200], ["batch-settlement", 100]]) {
  test(`${scheme}: ${times} copies of a payment at once buy one answer`, async () => {
    const wallet = await paid.fresh();
    const payment = await paid.signed(wallet, scheme);
    const [calls, settled] = [await paid.worked(), paid.asks().settle];
    const charge = (answers) => (scheme === "upto" ? units(answers.find(({ body: told }) => told.usage).body.usage.cost_usd) : undefined);
    const { told, moved } = await paid.moved(wallet, () => Promise.all(Array.from({ length: times }, () => paid.pay(payment))), { settles: charge });
    assert.equal(await paid.worked(), calls + 1);
    const whole = told.filter(({ status, body: answer }) => status === 200 && answer.object === "chat.completion");
    assert.equal(whole.length, 1);
    const request = whole[0].headers.get("x-request-id");
    for (const { status, body: answer } of told) {
      if (status === 200 && answer.object === "payment.used") assert.equal(answer.request_id, request);
      else if (status === 402) assert.equal(answer.error.code, "x402_voucher_mismatch");
      else if (status !== 200) assert.deepEqual([status, answer.error.code], [503, "x402_payment_in_progress"]);
    }
    assert.equal(paid.asks().settle, settled + 1);
    if (scheme !== "batch-settlement") assert.deepEqual(moved, [moved[1], scheme === "upto" ? charge(told) : BigInt(payment.accepted.amount)]);
    await paid.booksOf(wallet);
  });
}

test("a payment is for its request, its offer, its amount, its receiver, its token and its time", async () => {
  const wallet = await paid.fresh();
  const thief = await paid.fresh();
  const payment = await paid.signed(wallet, "exact");
  const other = { ...body, messages: [{ role: "user", content: "Something longer to be answered." }] };
  const elsewhere = await paid.priced(other);
  const altered = async (change = {}, offer = {}) => ({ ...payment, payload: await transferOf(wallet, { ...payment.accepted, ...offer }, change) });
  const accepted = (members) => ({ ...payment, accepted: { ...payment.accepted, ...members } });
  const attempts = {
    "another body": [payment, other],
    "another path": [payment, body, { path: "/v1/messages" }],
    "another's offer": [{ ...payment, accepted: elsewhere.offer("exact") }],
    "a lower amount": [accepted({ amount: "1" })],
    "a lower amount that was signed": [await altered({ value: "1" })],
    "a longer time": [accepted({ maxTimeoutSeconds: 99_999 })],
    "another quote": [accepted({ extra: { ...payment.accepted.extra, quote: "9999999999.cost.c6e68523.AAAAAAAAAAAAAAAAAAAAAA" } })],
    "no quote": [accepted({ extra: { name: "USDC", version: "2" } })],
    "another receiver": [await altered({ to: thief.address })],
    "another receiver that was offered": [accepted({ payTo: thief.address })],
    "another token": [await altered({}, { asset: USDT })],
    "an expired one": [await altered({ validBefore: "1000" })],
    "one for later": [await altered({ validAfter: "99999999999", validBefore: "999999999999" })],
    "another's money": [{ ...payment, payload: { ...payment.payload, authorization: { ...payment.payload.authorization, from: thief.address } } }],
    "another scheme": [accepted({ scheme: "upto" })],
    "another network": [accepted({ network: "eip155:8453" })],
  };
  for (const [what, [sent, asked, options]] of Object.entries(attempts)) {
    const answer = await buysNothing(wallet, () => paid.pay(sent, asked, options));
    assert.equal(answer.status, 402, `${what}: ${JSON.stringify(answer.body).slice(0, 200)}`);
    assert.ok(answer.headers.get("payment-required"), `${what}: it says how to pay`);
    assert.equal(answer.headers.get("payment-response"), null);
  }
  assert.equal((await paid.pay(payment)).status, 200, "as it was signed it is good");
});

test("version 1 is bound by no offer: the amount must do, and a payment is for one body", async () => {
  const wallet = await paid.fresh();
  const { answer: { body: { accepts: [offer] } } } = await paid.priced();
  const old = async (change) => ({ x402Version: 1, scheme: "exact", network: "base-sepolia", payload: await transferOf(wallet, offer, change) });
  const send = (payment, asked) => paid.pay(payment, asked, { name: "x-payment" });
  const cheap = await buysNothing(wallet, async () => send(await old({ value: String(Number(offer.maxAmountRequired) - 1) })));
  assert.deepEqual([cheap.status, cheap.body.accepts?.[0].maxAmountRequired], [402, offer.maxAmountRequired], "it is told the price again");
  const payment = await old();
  assert.equal((await send(payment)).status, 200);
  assert.equal((await send(payment)).body.object, "payment.used");
  assert.deepEqual(code(await buysNothing(wallet, () => send(payment, { ...body, max_tokens: 10 }))), [409, "x402_payment_reused"]);
  await paid.booksOf(wallet);
});

test("headers that hold no payment are told so, and ask nobody", async () => {
  const objects = async () => (await paid.here.worker.listDurableObjectIds("ACCOUNT")).length;
  const [asks, before, calls] = [paid.asks(), await objects(), await paid.worked()];
  const { required } = await paid.priced();
  const accepted = required.accepts.at(-1);
  const v1 = { x402Version: 1, scheme: "exact", network: "base-sepolia" };
  const junk = {
    "not base64": "@@@@",
    "base64url": "eyJhIjoi_-8",
    "not JSON": encoded("hello"),
    "an array": encoded("[]"),
    "null": encoded("null"),
    "empty": "",
    "not UTF-8": Buffer.from([0xff, 0xfe, 0x7b]).toString("base64"),
    "another version": encoded({ x402Version: 9 }),
    "no version": encoded({}),
    "no offer": encoded({ x402Version: 2 }),
    "an offer of nothing": encoded({ x402Version: 2, accepted: {}, payload: {} }),
    "a payload that is a number": encoded({ x402Version: 2, accepted, payload: 3 }),
    "no payload": encoded({ x402Version: 2, accepted }),
    "a number too large": encoded({ ...v1, payload: { authorization: { value: "9".repeat(80) } } }),
    "deep": encoded(`${"[".repeat(5000)}${"]".repeat(5000)}`),
    "long": "A".repeat(48_000),
    "long JSON": encoded({ x402Version: 2, accepted: { a: "x".repeat(30_000) } }),
  };
  for (const [what, header] of Object.entries(junk)) {
    for (const name of ["payment-signature", "x-payment", "sign-in-with-x"]) {
      const answer = await paid.pay(header, body, { name });
      assert.ok([400, 402].includes(answer.status), `${what} as ${name}: ${answer.status} ${JSON.stringify(answer.body).slice(0, 200)}`);
      assert.ok(answer.body.error.message.length > 20);
    }
  }
  // Longer than the runtime takes: it refuses by itself.
  const huge = await paid.pay("A".repeat(64 * 1024), body).catch(() => ({ status: 431 }));
  assert.ok(huge.status >= 400 && huge.status < 500, `${huge.status}`);
  assert.deepEqual([paid.asks(), await objects(), await paid.worked()], [asks, before, calls]);
});

test("a price, and a payment that does not fit, wake no object", async () => {
  const wallet = await paid.fresh();
  const payment = await paid.signed(wallet, "exact");
  const objects = async () => paid.here.worker.listDurableObjectIds("ACCOUNT");
  const before = await objects();
  for (let time = 0; time < 20; time++) assert.equal((await paid.priced()).answer.status, 402);
  assert.equal((await paid.pay(payment, { ...body, max_tokens: 5 })).status, 402);
  assert.equal((await paid.pay({ ...payment, payload: { ...payment.payload, signature: `0x${"11".repeat(65)}` } })).status, 402);
  assert.equal((await paid.here.call("GET", "/v1/balance")).status, 401);
  assert.deepEqual(await objects(), before);
});

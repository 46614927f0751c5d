// Stock clients pay for calls on a local chain: what moved is asserted to the unit, and what the account says of it.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { extractDiscoveryInfo } from "../x402/facilitator.mjs";
import { nanos } from "./books.mjs";
import { textOf } from "./harness.mjs";
import { body, decoded, merchant, provider, startPaid, units, USDC, USDT } from "./wallets.mjs";

let paid, first;
before(async () => {
  paid = await startPaid({ cold: true });
  first = await paid.priced();
});
after(() => paid?.close());

const slowly = () => paid.here.sandbox.set(provider, { chunk_delay_ms: 20 });
const name = (token) => (token === USDC ? "USDC" : "USDT");

/** Chunks come while the answer is written, not at its end. */
function flowed({ times, events }) {
  assert.ok(events.length > 10, `${events.length} events`);
  assert.ok(times.length > 5, `${times.length} chunks`);
  assert.ok(times.at(-1) - times[0] > 100, "they did not come all at once");
}

/** The transfer of a transaction, as the chain has it. */
async function onChain(token, wallet, transaction, amount) {
  const found = (await paid.rig.transfers(token, { from: wallet.address, to: merchant.address })).filter((one) => one.transaction === transaction);
  assert.deepEqual(found.map((one) => one.amount), [amount]);
}

test("the first answer of a worker that has just started offers every scheme", () => {
  assert.deepEqual(first.required.accepts.map(({ scheme, asset }) => `${scheme} ${asset.toLowerCase() === USDC.toLowerCase() ? "USDC" : "USDT"}`),
    ["batch-settlement USDC", "upto USDC", "upto USDT", "exact USDC", "exact USDT", "batch-settlement USDT"]);
});

for (const token of [USDC, USDT]) {
  test(`exact ${name(token)}: the most is paid before the work, and what was not used stays in the balance`, async () => {
    const wallet = await paid.fresh();
    const client = paid.clientOf(wallet, { schemes: ["exact"], tokens: [token] });
    const { told, moved } = await paid.moved(wallet, () => client.call({ url: paid.url, body }), { token });
    const { status, payment, receipt } = client.exchanges.at(-1);
    assert.equal(status, 200, JSON.stringify(told.answer));
    const amount = BigInt(payment.accepted.amount);
    assert.deepEqual(moved, [amount, amount]);
    assert.deepEqual([receipt.success, receipt.network, receipt.payer], [true, "eip155:84532", wallet.address.toLowerCase()]);
    await onChain(token, wallet, receipt.transaction, amount);
    const balance = await paid.restOf(wallet);
    assert.equal(nanos(balance.paid_usd), amount * 1000n);
    assert.equal(nanos(balance.available_usd), amount * 1000n - nanos(told.answer.usage.cost_usd));
    await paid.booksOf(wallet);
  });

  test(`upto ${name(token)}: what was used is settled after the work, by a wallet without gas or allowance`, async () => {
    const wallet = await paid.fresh();
    assert.deepEqual([await paid.rig.eth(wallet), await paid.rig.allowance(token, wallet)], [0n, 0n]);
    const client = paid.clientOf(wallet, { schemes: ["upto"], tokens: [token] });
    const charge = ({ answer }) => units(answer.usage.cost_usd);
    const { told, moved } = await paid.moved(wallet, () => client.call({ url: paid.url, body }), { token, settles: charge });
    assert.deepEqual(moved, [charge(told), charge(told)]);
    assert.ok(charge(told) > 0n && charge(told) < BigInt(client.exchanges.at(-1).payment.accepted.amount));
    // The approval of USDT is a transaction of the wallet's, whose gas the facilitator gives it.
    if (token === USDC) assert.equal(await paid.rig.eth(wallet), 0n);
    const { entries, told: balance } = await paid.booksOf(wallet);
    assert.deepEqual(entries.map(({ kind }) => kind).sort(), ["credit", "usage"]);
    assert.ok(nanos(balance.available_usd) < 1000n, "less than a unit is left");
    assert.equal(balance.unsettled_usd, "0");
  });

  test(`exact ${name(token)}, streamed: the head has the receipt`, async () => {
    const wallet = await paid.fresh();
    await slowly();
    const { told, moved } = await paid.moved(wallet, () => paid.streamed(paid.clientOf(wallet, { schemes: ["exact"], tokens: [token] }).fetch), { token });
    assert.equal(told.status, 200, told.text);
    flowed(told);
    const receipt = decoded(told.headers.get("payment-response"));
    const { payment, cost_usd } = told.comment;
    assert.equal(payment.transaction, receipt.transaction);
    assert.deepEqual(moved, [nanos(payment.amount_usd) / 1000n, nanos(payment.amount_usd) / 1000n]);
    assert.equal(nanos(payment.credited_usd), nanos(payment.amount_usd) - nanos(cost_usd));
    await onChain(token, wallet, receipt.transaction, moved[0]);
    await paid.booksOf(wallet);
  });

  test(`upto ${name(token)}, streamed: the last comment says what is settled`, async () => {
    const wallet = await paid.fresh();
    await slowly();
    const settles = ({ comment }) => nanos(comment.payment.settles_usd) / 1000n;
    const client = paid.clientOf(wallet, { schemes: ["upto"], tokens: [token] });
    const { told, moved } = await paid.moved(wallet, () => paid.streamed(client.fetch), { token, settles });
    flowed(told);
    assert.match(textOf(told.events), /simulated/);
    assert.equal(told.headers.get("payment-response"), null);
    assert.equal(settles(told), units(told.comment.cost_usd));
    assert.deepEqual(moved, [settles(told), settles(told)]);
    await paid.booksOf(wallet);
  });
}

test("a wallet that has allowed Permit2 pays by upto several times at once", async () => {
  const wallet = await paid.fresh();
  await paid.rig.approvePermit2(wallet, USDC);
  const client = paid.clientOf(wallet, { schemes: ["upto"] });
  const all = (answers) => answers.reduce((sum, { answer }) => sum + units(answer.usage.cost_usd), 0n);
  const { told, moved } = await paid.moved(wallet, () => Promise.all(Array.from({ length: 4 }, () => client.call({ url: paid.url, body }))), { settles: all });
  assert.deepEqual(moved, [all(told), all(told)]);
  await paid.booksOf(wallet);
});

test("a facilitator that keeps a list of what can be bought finds what it needs in the first payment", async () => {
  const client = paid.clientOf(await paid.fresh(), { schemes: ["exact"] });
  await client.call({ url: paid.url, body });
  const { paymentPayload, paymentRequirements } = paid.rig.control.log.findLast(({ operation }) => operation === "settle").request;
  const listed = extractDiscoveryInfo(paymentPayload, paymentRequirements);
  assert.equal(listed?.resourceUrl, paid.url);
  assert.deepEqual([listed.method, listed.discoveryInfo.input.bodyType], ["POST", "json"]);
});

test("what can be paid with is told without a price", async () => {
  const { status, body: told } = await paid.here.call("GET", "/v1/payment-options");
  assert.equal(status, 200);
  assert.deepEqual(told.data.map(({ id }) => id).sort(), [
    "eip155:84532/USDC/batch-settlement", "eip155:84532/USDC/exact", "eip155:84532/USDC/upto", "eip155:84532/USDT/batch-settlement",
    "eip155:84532/USDT/exact", "eip155:84532/USDT/upto",
  ]);
  assert.ok(told.data.every(({ pay_to }) => pay_to === merchant.address.toLowerCase()));
});

test("the operator's figures count payments by scheme", async () => {
  const wallet = await paid.fresh();
  await paid.clientOf(wallet, { schemes: ["exact"] }).call({ url: paid.url, body });
  await paid.booksOf(wallet);
  const { status, body: text } = await paid.here.call("GET", "/platform/v1/metrics", paid.here.operatorToken);
  assert.equal(status, 200);
  const { DB } = await paid.here.worker.getEnv();
  const figure = (name) => new RegExp(`^${name}\\{megarouter_payment_scheme="exact"\\} (\\S+)$`, "m").exec(text)?.[1];
  const query = "SELECT count(*) AS n, CAST(sum(amount) AS TEXT) AS nanos FROM entry WHERE id LIKE '%#paid%' AND note LIKE 'x402 exact %'";
  const { n, nanos: sum } = await DB.prepare(query).first();
  assert.deepEqual([figure("megarouter_payments_total"), nanos(figure("megarouter_payments_usd_total"))], [String(n), BigInt(sum)]);
  assert.equal(figure("megarouter_payments_taken_back_usd_total"), "0");
});

// Payers leave their channels by the stock client: what was charged is claimed, the rest is theirs again.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { voucherOf } from "../x402/clients/forge.mjs";
import { code, startInstance, until } from "./harness.mjs";
import { authorizer, body, encoded, FUNDS, keyOf, merchant, merchantAuthorizer, paidBy, startPaid, tools, units, USDC } from "./wallets.mjs";

let paid;
before(async () => { paid = await startPaid({ vars: { X402_AUTHORIZER_KEY: keyOf(merchantAuthorizer) } }); });
after(() => paid?.close());

const payer = (wallet) => paid.clientOf(wallet, { schemes: ["batch-settlement"] });
const costOf = ({ answer }) => units(answer.usage.cost_usd);
const channelOf = (client) => client.exchanges.findLast(({ payment }) => payment).payment.payload.voucher.channelId;
/** What a wallet has left of its deposits, once it has it. */
const back = (wallet, units) => until(`${units} units are back`, async () => await paid.rig.balance(USDC, wallet) === units, { ms: 5000 });
/** Waits until calls are charged to their channels: that happens after their answers. */
const charged = (wallet, count = 1, at = paid) => until("all is charged", async () => {
  const { channels } = await at.balanceOf(wallet);
  return channels.length === count && channels.every(({ open, deposited_usd }) => !open && deposited_usd !== "0");
});

test("in part, and whole: what was charged is claimed in the same step", async () => {
  const wallet = await paid.fresh();
  const client = payer(wallet);
  const took = await paid.rig.balance(USDC, merchant);
  let cost = costOf(await client.call({ url: paid.url, body }));
  cost += costOf(await client.call({ url: paid.url, body }));
  await charged(wallet);
  const id = channelOf(client);
  const { balance } = await paid.rig.channel(id);
  const part = await client.refund(paid.url, "500");
  assert.deepEqual([part.success, part.payer, client.exchanges.at(-1).status], [true, wallet.address.toLowerCase(), 202]);
  await back(wallet, FUNDS - balance + 500n);
  assert.deepEqual(await paid.rig.channel(id), { balance: balance - 500n, totalClaimed: cost, withdrawRequestedAt: 0, refundNonce: 1n });
  const from = client.exchanges.length;
  cost += costOf(await client.call({ url: paid.url, body }));
  await charged(wallet);
  assert.deepEqual(client.exchanges.slice(from).map(({ status, payment }) => [status, payment?.payload.type]), [[402, undefined], [200, "voucher"]]);
  await client.refund(paid.url);
  await back(wallet, FUNDS - cost);
  assert.deepEqual(await paid.rig.channel(id), { balance: cost, totalClaimed: cost, withdrawRequestedAt: 0, refundNonce: 2n });
  await until("we have ours", async () => (await paid.rig.balance(USDC, merchant)) - took === cost, { ms: 5000 });
  await assert.rejects(client.refund(paid.url), /no remaining balance|refund_no_balance/);
  const { told: { channels: [channel] } } = await paid.booksOf(wallet);
  assert.deepEqual([units(channel.deposited_usd), units(channel.charged_usd), units(channel.claimed_usd)], [cost, cost, cost]);
});

test("a client that knows nothing of its channel any more is told what was charged", async () => {
  const wallet = await paid.fresh();
  const cost = costOf(await payer(wallet).call({ url: paid.url, body }));
  await charged(wallet);
  const second = payer(wallet);
  await second.refund(paid.url);
  assert.deepEqual(second.exchanges.map(({ status, required }) => [status, required?.error]),
    [[402, second.exchanges[0].required.error], [402, "invalid_batch_settlement_evm_cumulative_amount_mismatch"], [202, undefined]]);
  assert.equal(second.exchanges.at(-1).payment.payload.voucher.maxClaimableAmount, String(cost));
  await back(wallet, FUNDS - cost);
});

test("only the payer has a channel given back, and only by what asks for that", async () => {
  const wallet = await paid.fresh();
  const client = payer(wallet);
  const cost = costOf(await client.call({ url: paid.url, body }));
  await charged(wallet);
  await client.refund(paid.url, "1");
  await until("it is done", async () => (await paid.rig.channel(channelOf(client))).refundNonce === 1n);
  const { payment: whole } = client.exchanges.at(-1);
  const { voucher } = whole.payload;
  const thief = await paid.fresh();
  const held = await paid.rig.channel(voucher.channelId);
  const get = (payment) => paid.here.call("GET", "/v1/chat/completions", undefined, undefined, { "payment-signature": encoded(payment) });
  const forged = await voucherOf(thief, voucher.channelId, cost);
  assert.deepEqual(code(await get({ ...whole, payload: { ...whole.payload, voucher: forged } })), [402, "x402_invalid"]);
  const less = await voucherOf(wallet, voucher.channelId, cost - 1n);
  assert.deepEqual(code(await get({ ...whole, payload: { ...whole.payload, voucher: less } })), [402, "x402_voucher_mismatch"]);
  assert.deepEqual(code(await paid.pay(whole)), [402, "x402_invalid"], "it pays for no call");
  const spent = client.exchanges.findLast(({ payment }) => payment?.payload.type === "deposit").payment;
  assert.equal((await get(spent)).status, 402, "a call's payment asks for nothing back");
  assert.deepEqual(await paid.rig.channel(voucher.channelId), held);
});

test("without a voucher it is said in whose name channels are, at all that calls are paid at", async () => {
  for (const path of ["chat/completions", "messages", "responses", "completions", "embeddings"]) {
    const answer = await paid.here.call("GET", `/v1/${path}`);
    assert.deepEqual(code(answer), [402, "x402_payment_required"]);
    const { accepts } = JSON.parse(Buffer.from(answer.headers.get("payment-required"), "base64"));
    assert.deepEqual([...new Set(accepts.map(({ scheme }) => scheme))], ["batch-settlement"]);
  }
});

test("a key that was changed still gives back what it opened", async (t) => {
  const state = mkdtempSync(join(tmpdir(), "megarouter-keys-"));
  t.after(() => rmSync(state, { recursive: true, force: true }));
  const wallet = await paid.fresh();
  const client = payer(wallet);
  /** A call to a worker that has these keys, on the state that the one before it left. */
  async function under(keys, then) {
    const vars = { ...paidBy(paid.rig), X402_REFUND_KEY: keyOf(merchant), X402_AUTHORIZER_KEY: keys.map(keyOf).join() };
    const here = await startInstance({ state, vars });
    try {
      const at = tools(paid.rig, here);
      await until("channels are offered", async () => (await at.priced()).offer("batch-settlement"));
      await client.call({ url: at.url, body });
      const { type, channelConfig } = client.exchanges.at(-1).payment.payload;
      assert.deepEqual([type, channelConfig.receiverAuthorizer], ["deposit", keys[0].address]);
      await charged(wallet, client.exchanges.filter(({ payment }) => payment).length, at);
      await then?.(at);
    } finally {
      await here.close();
    }
  }
  await under([merchantAuthorizer]);
  await under([authorizer, merchantAuthorizer], async (at) => {
    const refund = (headers) => fetch(at.at("/v1/refund"), { method: "POST", headers });
    const { error } = await (await refund()).json();
    const answer = await refund({ "sign-in-with-x": await at.signIn(wallet, error.metadata.sign_in) });
    const told = await answer.json();
    assert.equal(answer.status, 202, JSON.stringify(told));
    // What was charged in units and cost less is balance, and may be a unit by now: that goes back too.
    const { channels } = await at.balanceOf(wallet);
    const owed = channels.reduce((all, { charged_usd }) => all + units(charged_usd), 0n);
    await until("both are given back", async () => await paid.rig.balance(USDC, wallet) === FUNDS - owed + units(told.amount_usd), { ms: 10_000 });
  });
});

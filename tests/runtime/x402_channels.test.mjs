// Payment channels: one deposit, a voucher for each call, and a claim on chain of exactly what was charged.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { depositOf, voucherOf } from "../x402/clients/forge.mjs";
import { code, start, until } from "./harness.mjs";
import { body, keyOf, merchant, merchantAuthorizer, paidBy, startPaid, tools, units, USDC, USDT } from "./wallets.mjs";

let paid;
before(async () => { paid = await startPaid({ vars: { X402_CLAIM_AFTER_S: "1", X402_AUTHORIZER_KEY: keyOf(merchantAuthorizer) } }); });
after(() => paid?.close());

const payer = (wallet, options) => paid.clientOf(wallet, { schemes: ["batch-settlement"], ...options });
const costOf = ({ answer }) => units(answer.usage.cost_usd);
const wrote = (client, from = 0) => client.exchanges.slice(from).map(({ status, payment }) => [status, payment?.payload.type]);
const channelOf = (client) => client.exchanges.findLast(({ payment }) => payment).payment.payload.voucher.channelId;

/** All that was charged is claimed, swept to us, and nothing else. */
async function claimed(wallet, client, charged, before, token = USDC) {
  const id = channelOf(client);
  await until("it is claimed and swept", async () => (await paid.rig.balance(token, merchant)) - before === charged, { ms: 10_000 });
  assert.equal((await paid.rig.channel(id)).totalClaimed, charged);
  const { told } = await paid.booksOf(wallet);
  const channel = told.channels.find((one) => one.id === id);
  assert.deepEqual([units(channel.charged_usd), units(channel.claimed_usd), channel.open], [charged, charged, false]);
  return channel;
}

test("whole answers: one deposit, then vouchers", async () => {
  const wallet = await paid.fresh();
  const client = payer(wallet);
  const before = await paid.rig.balance(USDC, merchant);
  let charged = 0n;
  for (let call = 0; call < 4; call++) {
    const told = await client.call({ url: paid.url, body });
    charged += costOf(told);
    const { receipt } = client.exchanges.at(-1);
    assert.equal(BigInt(receipt.extra.chargedAmount), costOf(told));
    assert.equal(BigInt(receipt.extra.channelState.chargedCumulativeAmount), charged);
  }
  assert.deepEqual(wrote(client), [[402, undefined], [200, "deposit"], ...Array(3).fill([[402, undefined], [200, "voucher"]]).flat()]);
  const channel = await claimed(wallet, client, charged, before);
  const { balance } = await paid.rig.channel(channel.id);
  assert.equal(units(channel.deposited_usd), balance);
  assert.equal(await paid.rig.balance(USDC, wallet), 5_000_000n - balance);
});

test("streamed answers have no receipt in the head: the next call is put right by the 402, and nothing is charged twice", async () => {
  const wallet = await paid.fresh();
  const client = payer(wallet);
  const before = await paid.rig.balance(USDC, merchant);
  let charged = 0n;
  for (let call = 0; call < 3; call++) {
    const from = client.exchanges.length;
    const told = await paid.streamed(client.fetch);
    assert.equal(told.status, 200, told.text);
    assert.equal(told.headers.get("payment-response"), null);
    charged += units(told.comment.cost_usd);
    const { settlement } = told.comment.payment;
    assert.equal(BigInt(settlement.extra.channelState.chargedCumulativeAmount), charged);
    if (call > 0) {
      assert.deepEqual(client.exchanges.slice(from).map(({ status }) => status), [402, 402, 200]);
      assert.equal(client.exchanges.at(-2).required.error, "invalid_batch_settlement_evm_cumulative_amount_mismatch");
    }
  }
  const whole = await client.call({ url: paid.url, body });
  assert.equal(client.exchanges.at(-1).status, 200);
  await claimed(wallet, client, charged + costOf(whole), before);
});

test("USDT: a wallet without gas or allowance deposits through Permit2, and what it lost of its channel is told it", async () => {
  const wallet = await paid.fresh();
  assert.deepEqual([await paid.rig.eth(wallet), await paid.rig.allowance(USDT, wallet)], [0n, 0n]);
  const client = payer(wallet, { tokens: [USDT] });
  const before = await paid.rig.balance(USDT, merchant);
  let charged = costOf(await client.call({ url: paid.url, body }));
  assert.deepEqual(wrote(client), [[402, undefined], [200, "deposit"]]);
  const { balance } = await paid.rig.channel(channelOf(client));
  assert.equal(await paid.rig.balance(USDT, wallet), 5_000_000n - balance);
  const streamed = await paid.streamed(client.fetch);
  charged += units(streamed.comment.cost_usd);
  const from = client.exchanges.length;
  charged += costOf(await client.call({ url: paid.url, body }));
  assert.deepEqual(wrote(client, from), [[402, undefined], [402, "voucher"], [200, "voucher"]]);
  await claimed(wallet, client, charged, before, USDT);
  assert.equal((await paid.rig.channel(channelOf(client))).balance, balance);
  assert.equal(await paid.rig.balance(USDC, wallet), 5_000_000n);
  // A dearer call deposits more, now that Permit2 may.
  charged += costOf(await client.call({ url: paid.url, body: { ...body, max_tokens: 20_000 } }));
  assert.deepEqual(wrote(client).at(-1), [200, "deposit"]);
  assert.equal(client.exchanges.at(-1).payment.extensions?.erc20ApprovalGasSponsoring?.info?.signedTransaction, undefined);
  const { balance: more } = await paid.rig.channel(channelOf(client));
  assert.equal(await paid.rig.balance(USDT, wallet), 5_000_000n - more);
  await claimed(wallet, client, charged, before, USDT);
});

test("a call that may cost more than is left deposits more", async () => {
  const wallet = await paid.fresh();
  const client = payer(wallet);
  const before = await paid.rig.balance(USDC, merchant);
  let charged = costOf(await client.call({ url: paid.url, body }));
  const { balance } = await paid.rig.channel(channelOf(client));
  charged += costOf(await client.call({ url: paid.url, body: { ...body, max_tokens: 20_000 } }));
  assert.deepEqual(wrote(client, 2), [[402, undefined], [200, "deposit"]]);
  const channel = await claimed(wallet, client, charged, before);
  assert.ok((await paid.rig.channel(channel.id)).balance > balance);
});

test("a client that has forgotten its channel goes on with it", async () => {
  const wallet = await paid.fresh();
  const before = await paid.rig.balance(USDC, merchant);
  const first = payer(wallet);
  let charged = costOf(await first.call({ url: paid.url, body }));
  charged += costOf(await first.call({ url: paid.url, body }));
  const second = payer(wallet);
  charged += costOf(await second.call({ url: paid.url, body }));
  assert.ok(wrote(second).every(([, type]) => type !== "deposit"), "it deposits nothing");
  assert.equal(channelOf(second), channelOf(first));
  await claimed(wallet, second, charged, before);
});

/** A stock deposit whose voucher and deposit are made by hand. */
async function altered(wallet, { most, deposit, signer = wallet }) {
  const payment = await paid.signed(wallet, "batch-settlement");
  const { channelConfig, voucher } = payment.payload;
  const units = BigInt(payment.accepted.amount);
  payment.payload = {
    type: "deposit", channelConfig,
    voucher: await voucherOf(signer, voucher.channelId, most(units)),
    deposit: await depositOf(wallet, voucher.channelId, deposit(units), payment.accepted),
  };
  return payment;
}

test("a voucher that does not cover the call, or is not covered itself, or is another's, buys nothing", async () => {
  const thief = await paid.fresh();
  for (const [what, options] of Object.entries({
    "for a unit": { most: () => 1n, deposit: () => 1n },
    "for nothing": { most: () => 0n, deposit: () => 1n },
    "for a unit less": { most: (units) => units - 1n, deposit: (units) => units * 10n },
    "of more than is deposited": { most: (units) => units, deposit: (units) => units - 1n },
    "of another": { most: (units) => units, deposit: (units) => units, signer: thief },
  })) {
    const calls = await paid.worked();
    const answer = await paid.pay(await altered(await paid.fresh(), options));
    assert.equal(answer.status, 402, `${what}: ${JSON.stringify(answer.body).slice(0, 300)}`);
    assert.equal(await paid.worked(), calls, what);
  }
});

test("a channel is in our own name, and no facilitator gives it back by itself", async () => {
  const wallet = await paid.fresh();
  const client = payer(wallet);
  await client.call({ url: paid.url, body });
  const { payment } = client.exchanges.at(-1);
  const { channelConfig, voucher } = payment.payload;
  assert.equal(channelConfig.receiverAuthorizer, merchantAuthorizer.address);
  const refund = { type: "refund", channelConfig, voucher, amount: "1", refundNonce: "0", claims: [] };
  const answer = await fetch(`${paid.rig.facilitatorUrl}/settle`, {
    method: "POST", headers: { "content-type": "application/json" },
    body: JSON.stringify({ x402Version: 2, paymentPayload: { ...payment, payload: refund }, paymentRequirements: payment.accepted }),
  });
  const { success, errorReason } = await answer.json();
  assert.deepEqual([success, errorReason], [false, "invalid_batch_settlement_evm_authorizer_address_mismatch"]);
});

test("calls of some worth go on without a look at the chain", async () => {
  const wallet = await paid.fresh();
  const client = payer(wallet);
  const dear = { ...body, max_tokens: 60_000 };
  await client.call({ url: paid.url, body: dear });
  const asked = paid.asks();
  const before = client.exchanges.length;
  for (let call = 0; call < 2; call++) await client.call({ url: paid.url, body: dear });
  const { payment } = client.exchanges.at(-1);
  assert.ok(BigInt(payment.accepted.amount) > 100_000n, payment.accepted.amount);
  assert.deepEqual(wrote(client, before), Array(2).fill([[402, undefined], [200, "voucher"]]).flat());
  assert.equal(paid.asks().verify, asked.verify);
});

test("a voucher is charged by once", async () => {
  const wallet = await paid.fresh();
  const client = payer(wallet);
  await client.call({ url: paid.url, body });
  await client.call({ url: paid.url, body });
  const calls = await paid.worked();
  const { payment } = client.exchanges.at(-1);
  for (let time = 0; time < 3; time++) assert.deepEqual(code(await paid.pay(payment)), [402, "x402_voucher_mismatch"]);
  assert.equal(await paid.worked(), calls);
});

// The last one: it moves the chain's clock by a day. Ours stands still, so that the channel is one that is looked at before each call.
test("a channel whose payer has taken the money out buys nothing", async () => {
  const here = await start({ vars: { ...paidBy(paid.rig), OUTBOX_FLUSH_MS: "100", X402_CLAIM_AFTER_S: "1" } });
  try {
    const theirs = tools(paid.rig, here);
    await until("every scheme is offered", async () => (await theirs.priced()).offer("batch-settlement"));
    const wallet = await paid.fresh();
    const client = payer(wallet);
    const call = () => client.call({ url: theirs.url, body: { ...body, max_tokens: 60_000 } });
    await call();
    const { channelConfig } = client.exchanges.at(-1).payment.payload;
    assert.notEqual(channelConfig.receiverAuthorizer, merchantAuthorizer.address);
    const id = channelOf(client);
    const held = await until("it is claimed", async () => { const seen = await paid.rig.channel(id); return seen.totalClaimed > 0n && seen; }, { ms: 10_000 });
    await paid.rig.beginWithdrawal(channelConfig, held.balance - held.totalClaimed);
    await paid.rig.finishWithdrawal(channelConfig);
    const calls = await theirs.worked();
    await call().catch(() => {});
    const { status, payment } = client.exchanges.at(-1);
    assert.deepEqual([status, payment?.payload.type], [402, "voucher"]);
    assert.equal(await theirs.worked(), calls);
  } finally {
    await here.close();
  }
});

// Facilitators that are down, slow, silent, or lie: a payer is charged once, an answer is given once, and what is not known is no failure.
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { nanos } from "./books.mjs";
import { code, start, until } from "./harness.mjs";
import { chainAt } from "../x402/chain.mjs";
import { startFacilitator } from "../x402/facilitator.mjs";
import { body, decoded, keyOf, merchant, merchantAuthorizer, NETWORK, paidBy, startPaid, tools, units, USDC } from "./wallets.mjs";

let paid, control;
before(async () => {
  paid = await startPaid();
  ({ control } = paid.rig);
});
after(() => paid?.close());
afterEach(() => control.reset());

const reset = () => control.set({});
const income = () => paid.rig.balance(USDC, merchant);
const moves = async (wallet) => (await paid.rig.transfers(USDC, { from: wallet.address })).map(({ amount }) => amount);

/** Nobody knows: 503, no second price, and no client tries by itself. */
function unknown(answer, what) {
  assert.deepEqual(code(answer), [503, "x402_settlement_unknown"], `${what}: ${JSON.stringify(answer.body)}`);
  for (const name of ["payment-required", "payment-response"]) assert.equal(answer.headers.get(name), null, `${what}: ${name}`);
  assert.equal(answer.headers.get("x-should-retry"), "false");
  assert.ok(Number(answer.headers.get("retry-after")) > 0);
}

/** The same payment is sent until it is served. */
const served = (payment) => until("it is served", async () => {
  const answer = await paid.pay(payment);
  if (answer.status === 503) return await new Promise((done) => setTimeout(done, 300));
  assert.equal(answer.status, 200, JSON.stringify(answer.body));
  return answer;
}, { ms: 15_000 });

// Whether the money moved before nobody knew, and when the truth is told again.
for (const [what, behaviour] of Object.entries({
  "is down": { down: true },
  "settles and breaks the connection": { settle_then_down: true },
  "settles and says that it is pending": { pending: true },
})) {
  test(`exact, and the facilitator ${what}: it is not known; later the same payment is served, and has moved once`, async () => {
    const wallet = await paid.fresh();
    const payment = await paid.signed(wallet, "exact");
    const amount = BigInt(payment.accepted.amount);
    const calls = await paid.worked();
    control.set({ ...behaviour, on: "settle" });
    unknown(await paid.pay(payment), what);
    unknown(await paid.pay(payment), "again");
    assert.equal(await paid.worked(), calls, "no work is done meanwhile");
    reset();
    const answer = await served(payment);
    assert.equal(answer.body.object, "chat.completion", JSON.stringify(answer.body));
    assert.equal((await paid.pay(payment)).body.object, "payment.used");
    assert.equal(await paid.worked(), calls + 1);
    assert.deepEqual(await moves(wallet), [amount]);
    const balance = await paid.restOf(wallet);
    assert.equal(nanos(balance.paid_usd), amount * 1000n);
    await paid.booksOf(wallet);
  });
}

test("exact, and the caller never comes back: the money is found on the chain, and is balance", async () => {
  const wallet = await paid.fresh();
  const payment = await paid.signed(wallet, "exact");
  control.set({ settle_then_down: true, on: "settle", times: 1 });
  unknown(await paid.pay(payment), "settled unseen");
  const balance = await until("it is balance", async () => { const told = await paid.balanceOf(wallet); return told.paid_usd !== "0" && told; }, { ms: 15_000 });
  assert.equal(nanos(balance.available_usd), BigInt(payment.accepted.amount) * 1000n);
  assert.deepEqual(await moves(wallet), [BigInt(payment.accepted.amount)]);
});

test("upto: what was used is settled later where settling fails at first, and once", async () => {
  for (const behaviour of [{ down: true }, { settle_then_down: true }, { pending: true }]) {
    const wallet = await paid.fresh();
    control.set({ ...behaviour, on: "settle", times: 1 });
    const { told, moved } = await paid.moved(wallet, () => paid.clientOf(wallet, { schemes: ["upto"] }).call({ url: paid.url, body }),
      { settles: ({ answer }) => units(answer.usage.cost_usd) });
    const charge = units(told.answer.usage.cost_usd);
    assert.deepEqual(moved, [charge, charge]);
    await until("it is known", async () => nanos((await paid.balanceOf(wallet)).paid_usd) === charge * 1000n, { ms: 15_000 });
    assert.deepEqual(await moves(wallet), [charge]);
    await paid.booksOf(wallet);
  }
});

test("upto, and nobody can be asked: no work, no price, and the same payment is good later", async () => {
  const wallet = await paid.fresh();
  const payment = await paid.signed(wallet, "upto");
  const calls = await paid.worked();
  control.set({ down: true });
  unknown(await paid.pay(payment), "down");
  assert.equal(await paid.worked(), calls);
  reset();
  assert.equal((await paid.pay(payment)).body.object, "chat.completion");
});

test("a slow facilitator is waited for", async () => {
  const wallet = await paid.fresh();
  control.set({ delay_ms: 1500 });
  const { told } = await paid.moved(wallet, () => paid.clientOf(wallet, { schemes: ["exact"] }).call({ url: paid.url, body }));
  assert.ok(told.answer.usage.cost_usd, JSON.stringify(told.answer));
});

test("both dialects of refusal are told on, and cost nothing", async () => {
  for (const dialect of [undefined, "rs"]) {
    for (const scheme of ["exact", "upto"]) {
      const wallet = await paid.fresh({ usdc: 1n });
      const payment = await paid.signed(wallet, scheme);
      const calls = await paid.worked();
      control.set(dialect ? { dialect } : {});
      const answer = await paid.pay(payment);
      // That family says of some refusals only that it did not expect them: of a settlement, that is not known.
      if (answer.status === 503) unknown(answer, `${dialect} ${scheme}`);
      else {
        assert.deepEqual(code(answer), [402, "x402_settlement_failed"], JSON.stringify(answer.body));
        assert.ok(answer.headers.get("payment-required"));
        const told = decoded(answer.headers.get("payment-response"));
        assert.deepEqual([told.success, told.transaction, told.network], [false, "", NETWORK]);
        assert.match(told.errorReason, /insufficient|simulation/);
      }
      assert.equal(await paid.worked(), calls);
      assert.deepEqual(await moves(wallet), []);
    }
  }
});

test("upto that was said to be valid and is not: the debt stays until it is settled, and only what is paid before the work is served", async () => {
  const wallet = await paid.fresh({ usdc: 0n });
  control.set({ lie: "valid" });
  const client = paid.clientOf(wallet, { schemes: ["upto"] });
  const { answer } = await client.call({ url: paid.url, body });
  const debt = nanos(answer.usage.cost_usd);
  await until("settling has failed", async () => paid.asks().settle > 0, { ms: 10_000 });
  reset();
  control.set({ down: true, on: "settle" });
  assert.equal(nanos((await paid.balanceOf(wallet)).available_usd), -debt);
  await paid.rig.mint(USDC, wallet, 5_000_000n);
  const calls = await paid.worked();
  for (const scheme of ["upto", "batch-settlement"]) {
    const other = paid.clientOf(wallet, { schemes: [scheme] });
    const told = await other.call({ url: paid.url, body });
    assert.ok([402, 503].includes(other.exchanges.at(-1).status), JSON.stringify(told.answer));
    assert.doesNotMatch(told.answer.error.message, /organisation/, "a wallet is no organisation's");
  }
  assert.equal(await paid.worked(), calls);
  reset();
  const exact = paid.clientOf(wallet, { schemes: ["exact"] });
  for (let time = 0; time < 2; time++) await exact.call({ url: paid.url, body });
  assert.equal(exact.exchanges.at(-1).status, 200);
  // It is asked for again and again, and now the money is there.
  await until("the debt is settled", async () => (await paid.balanceOf(wallet)).unsettled_usd === "0", { ms: 20_000 });
  assert.ok(nanos((await paid.restOf(wallet)).available_usd) >= 0n);
  await paid.booksOf(wallet);
});

test("a settlement that was none is credit only until the chain was looked at", async () => {
  const wallet = await paid.fresh();
  control.set({ lie: "settled", times: 1 });
  const client = paid.clientOf(wallet, { schemes: ["exact"] });
  await client.call({ url: paid.url, body });
  assert.equal(client.exchanges.at(-1).status, 200);
  assert.deepEqual(await moves(wallet), []);
  // It is looked for during four minutes before it is taken back: that end of it is in the account's own tests.
});

test("two facilitators: where the first is gone, the second settles", async () => {
  const gone = "http://127.0.0.1:9";
  const here = await start({ vars: paidBy(paid.rig, [gone, paid.rig.facilitatorUrl]) });
  try {
    const two = tools(paid.rig, here);
    await until("every scheme is offered", async () => (await two.priced()).offer("upto"));
    for (const scheme of ["exact", "upto", "batch-settlement"]) {
      const wallet = await paid.fresh();
      const client = two.clientOf(wallet, { schemes: [scheme] });
      const before = await income();
      const { answer } = await client.call({ url: two.url, body });
      assert.equal(client.exchanges.at(-1).status, 200, `${scheme}: ${JSON.stringify(answer)}`);
      if (scheme === "batch-settlement") continue;
      const due = scheme === "exact" ? BigInt(client.exchanges.at(-1).payment.accepted.amount) : units(answer.usage.cost_usd);
      await until("it is settled", async () => (await income()) - before === due, { ms: 5_000 });
    }
  } finally {
    await here.close();
  }
});

test("one that does not answer is asked after the others, until it tells of itself again", async () => {
  const second = await startFacilitator({ chain: chainAt(paid.rig.rpcUrl) });
  const here = await start({ vars: paidBy(paid.rig, [paid.rig.facilitatorUrl, second.url]) });
  try {
    const two = tools(paid.rig, here);
    await until("every scheme is offered", async () => (await two.priced()).offer("upto"));
    const call = async () => {
      const [first, other] = [control.counts.settle, second.control.counts.settle];
      const client = two.clientOf(await paid.fresh(), { schemes: ["exact"] });
      const { answer } = await client.call({ url: two.url, body });
      assert.equal(client.exchanges.at(-1).status, 200, JSON.stringify(answer));
      return [control.counts.settle - first, second.control.counts.settle - other];
    };
    assert.deepEqual(await call(), [1, 0]);
    control.set({ down: true });
    assert.deepEqual(await call(), [1, 1], "the other one helps out");
    assert.deepEqual(await call(), [0, 1], "and is asked first from then on");
    reset();
    await until("the first one is back", async () => (await call())[0] === 1, { ms: 25_000 });
  } finally {
    await here.close();
    await second.close();
  }
});

for (const scheme of ["upto", "batch-settlement"]) {
  test(`${scheme}: what is settled in one name, or in ours, is settled by whoever answers`, async () => {
    const second = await startFacilitator({ chain: chainAt(paid.rig.rpcUrl) });
    const here = await start({ vars: { ...paidBy(paid.rig, [paid.rig.facilitatorUrl, second.url]), X402_AUTHORIZER_KEY: keyOf(merchantAuthorizer) } });
    try {
      const two = tools(paid.rig, here);
      await until("every scheme is offered", async () => (await two.priced()).offer("upto"));
      const wallet = await paid.fresh();
      await paid.rig.approvePermit2(wallet, USDC);
      const payment = await two.signed(wallet, scheme);
      const before = await income();
      control.set({ down: true });
      const asked = () => [control, second.control].map(({ counts }) => counts.verify + counts.settle);
      const [first, other] = asked();
      const answer = await two.pay(payment);
      assert.equal(answer.status, 200, JSON.stringify(answer.body));
      const now = asked();
      assert.ok(now[0] > first && now[1] > other, "the first one is asked first, then the other");
      if (scheme === "upto") {
        await until("it is settled", async () => (await income()) - before === units(answer.body.usage.cost_usd), { ms: 10_000 });
      } else {
        const { channels: [channel] } = await two.restOf(wallet);
        assert.equal(units(channel.deposited_usd), BigInt(payment.payload.deposit.amount));
      }
    } finally {
      await here.close();
      await second.close();
    }
  });
}

// The rig against itself: stock clients pay the stock server through the stock facilitator, and the chain's books say to the unit who paid what.
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { after, afterEach, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { authorizer, deployer, facilitator, merchant, USDC, USDT } from "./chain.mjs";
import { fetchV1 } from "./clients/fetch_v1.mjs";
import { fetchV2 } from "./clients/fetch_v2.mjs";
import { openaiJs } from "./clients/openai_js.mjs";
import { story } from "./clients/told.mjs";
import { startRig } from "./rig.mjs";
import { PRICE, startStockServer } from "./stock_server.mjs";

const FUNDS = 1_000_000;
const CHARGE = 1_234;
const charge = (amount) => ({ "x-charge": String(amount) });
const body = { model: "auto", messages: [{ role: "user", content: "hello" }] };
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

let rig, shop;
before(async () => {
  rig = await startRig();
  shop = await startStockServer({ facilitatorUrl: rig.facilitatorUrl });
});
after(async () => {
  await shop.close();
  await rig.close();
});
afterEach(() => rig.control.reset());

const at = (what) => `${shop.url}/${what}/v1/chat/completions`;
const fresh = () => rig.fresh({ usdc: FUNDS, usdt: FUNDS });

/** A call by a client of a new wallet, and what it moved: out of the wallet and into the merchant's. */
async function pays(what, { make = fetchV2, schemes, headers, stream, wallet, ...options } = {}) {
  wallet ??= await fresh();
  const client = await make({ key: wallet.key, rpcUrl: rig.rpcUrl, schemes, ...options });
  return { wallet, client, ...await calls(client, wallet, what, { headers, stream }) };
}

async function calls(client, wallet, what, { headers, stream } = {}) {
  const from = client.exchanges.length;
  const [had, took] = [await rig.balances(wallet), await rig.balances(merchant)];
  const outcome = await client.call({ url: at(what), body, headers, stream });
  const [has, got] = [await rig.balances(wallet), await rig.balances(merchant)];
  const moved = (token) => [Number(had[token] - has[token]), Number(got[token] - took[token])];
  return { ...story(client.exchanges.slice(from)), ...outcome, usdc: moved("usdc"), usdt: moved("usdt"), eth: has.eth };
}

function paid(told, token, amount) {
  assert.equal(told.status, 200);
  assert.equal(told.receipt.success, true);
  assert.deepEqual(told[token], [amount, amount]);
  assert.deepEqual(told[token === "usdc" ? "usdt" : "usdc"], [0, 0]);
}

describe("exact", () => {
  test("USDC by EIP-3009, from a wallet without ETH", async () => {
    const told = await pays("exact-usdc", { schemes: ["exact"] });
    paid(told, "usdc", PRICE);
    assert.equal(told.answer.choices[0].message.content, "paid and answered");
    assert.equal(told.eth, 0n);
  });

  test("USDC settled before the answer", async () => {
    paid(await pays("exact-usdc-upfront", { schemes: ["exact"] }), "usdc", PRICE);
    assert.deepEqual(rig.control.log.map(({ operation }) => operation), ["settle"]);
  });

  test("USDC by Permit2, allowed by a signed permit: neither ETH nor an allowance is needed", async () => {
    const told = await pays("exact-usdc-permit2", { schemes: ["exact"] });
    paid(told, "usdc", PRICE);
    assert.equal(told.eth, 0n);
    assert.equal(await rig.allowance(USDC, told.wallet), 0n);
  });

  test("USDT by Permit2, allowed by an approval that the facilitator pays the gas of", async () => {
    const told = await pays("exact-usdt", { schemes: ["exact"] });
    paid(told, "usdt", PRICE);
    assert.equal(await rig.allowance(USDT, told.wallet), 2n ** 256n - 1n);
    const again = await calls(told.client, told.wallet, "exact-usdt");
    paid(again, "usdt", PRICE);
    assert.equal(again.eth, told.eth);
  });

  test("by version 1 of the protocol", async () => {
    const told = await pays("exact-usdc", { make: fetchV1 });
    paid(told, "usdc", PRICE);
    assert.equal(told.receipt.network, "base-sepolia");
  });

  test("under OpenAI's library, whole and streamed", async () => {
    const whole = await pays("exact-usdc", { make: openaiJs, schemes: ["exact"] });
    paid(whole, "usdc", PRICE);
    assert.equal(whole.answer.choices[0].message.content, "paid and answered");
    const streamed = await pays("exact-usdc", { make: openaiJs, schemes: ["exact"], stream: true });
    paid(streamed, "usdc", PRICE);
    assert.equal(streamed.text, "paid and answered");
  });

  test("ten at once, and one of them again", async () => {
    const told = await Promise.all(Array.from({ length: 10 }, async () => {
      const { key } = await rig.fresh({ usdc: PRICE });
      const client = fetchV2({ key, schemes: ["exact"] });
      await client.call({ url: at("exact-usdc"), body });
      return story(client.exchanges);
    }));
    assert.ok(told.every(({ status, receipt }) => status === 200 && receipt.success));
    assert.equal(new Set(told.map(({ receipt }) => receipt.transaction)).size, 10);
    const { request } = rig.control.log.find(({ operation }) => operation === "settle");
    assert.equal((await ask("settle", request)).answer.errorReason, "invalid_exact_evm_nonce_already_used");
  });
});

describe("upto", () => {
  test("USDC, allowed by a signed permit: neither ETH nor an allowance is needed", async () => {
    const told = await pays("upto-usdc", { schemes: ["upto"], headers: charge(CHARGE) });
    paid(told, "usdc", CHARGE);
    assert.equal(told.receipt.amount, String(CHARGE));
    assert.equal(told.eth, 0n);
    assert.equal(await rig.allowance(USDC, told.wallet), BigInt(PRICE - CHARGE));
  });

  test("USDT, allowed by an approval that the facilitator pays the gas of", async () => {
    const sponsor = await rig.eth(facilitator);
    const told = await pays("upto-usdt", { schemes: ["upto"], headers: charge(CHARGE) });
    paid(told, "usdt", CHARGE);
    assert.equal(await rig.allowance(USDT, told.wallet), 2n ** 256n - 1n);
    assert.ok(await rig.eth(facilitator) < sponsor);
  });

  test("the maximum, nothing, and too much", async () => {
    const wallet = await fresh();
    await rig.approvePermit2(wallet, USDC);
    const told = await pays("upto-usdc", { schemes: ["upto"], wallet });
    paid(told, "usdc", PRICE);
    const free = await calls(told.client, wallet, "upto-usdc", { headers: charge(0) });
    paid(free, "usdc", 0);
    assert.equal(free.receipt.transaction, "");
    const over = await calls(told.client, wallet, "upto-usdc", { headers: charge(PRICE + 1) });
    assert.equal(over.status, 402);
    assert.equal(over.receipt.errorReason, "invalid_upto_evm_payload_settlement_exceeds_amount");
    assert.deepEqual(over.usdc, [0, 0]);
  });

  test("an account that cannot read the chain signs no permit", async () => {
    const told = await pays("upto-usdc", { schemes: ["upto"], rpcUrl: undefined });
    assert.equal(told.status, 412);
    assert.equal(told.error, "permit2_allowance_required");
  });
});

describe("batch settlement", () => {
  test("a deposit, vouchers, a lost receipt, a claim and a refund", async () => {
    const told = await pays("batch-usdc", { schemes: ["batch-settlement"], headers: charge(CHARGE) });
    const { client, wallet } = told;
    assert.equal(told.type, "deposit");
    assert.deepEqual(told.usdc, [10 * PRICE, 0]);
    assert.equal(told.receipt.extra.chargedAmount, String(CHARGE));

    const voucher = await calls(client, wallet, "batch-usdc", { headers: charge(100) });
    assert.equal(voucher.type, "voucher");
    assert.equal(voucher.receipt.extra.channelState.chargedCumulativeAmount, String(CHARGE + 100));
    const unseen = await calls(client, wallet, "batch-usdc", { headers: { ...charge(10), "x-no-receipt": "1" } });
    assert.equal(unseen.receipt, undefined);
    const healed = await calls(client, wallet, "batch-usdc", { headers: charge(1) });
    assert.deepEqual(client.exchanges.slice(-3).map(({ status }) => status), [402, 402, 200]);
    const corrective = client.exchanges.at(-2).required;
    assert.equal(corrective.error, "invalid_batch_settlement_evm_cumulative_amount_mismatch");
    assert.equal(corrective.accepts[0].extra.channelState.chargedCumulativeAmount, String(CHARGE + 110));
    const used = CHARGE + 111;
    assert.equal(healed.receipt.extra.channelState.chargedCumulativeAmount, String(used));
    assert.deepEqual(rig.control.log.map(({ operation, type }) => `${operation} ${type}`), ["verify deposit", "settle deposit"]);

    const took = await rig.balance(USDC, merchant);
    await shop.channels.claimAndSettle();
    assert.equal(await rig.balance(USDC, merchant) - took, BigInt(used));
    const { channelId } = healed.receipt.extra.channelState;
    assert.deepEqual(await rig.channel(channelId), { balance: BigInt(10 * PRICE), totalClaimed: BigInt(used), withdrawRequestedAt: 0, refundNonce: 0n });

    await client.refund(at("batch-usdc"), "500");
    assert.equal(await rig.balance(USDC, wallet), BigInt(FUNDS - 10 * PRICE + 500));
    await client.refund(at("batch-usdc"));
    assert.equal(await rig.balance(USDC, wallet), BigInt(FUNDS - used));
    assert.deepEqual(await rig.channel(channelId), { balance: BigInt(used), totalClaimed: BigInt(used), withdrawRequestedAt: 0, refundNonce: 2n });
  });

  test("a new process of the same payer finds its channel", async () => {
    const { wallet } = await pays("batch-usdc", { schemes: ["batch-settlement"], headers: charge(CHARGE) });
    const told = await pays("batch-usdc", { schemes: ["batch-settlement"], headers: charge(1), wallet });
    assert.deepEqual(told.client.exchanges.map(({ status }) => status), [402, 402, 200]);
    assert.equal(told.receipt.extra.channelState.chargedCumulativeAmount, String(CHARGE + 1));
  });

  test("USDT, deposited by Permit2 without ETH", async () => {
    const told = await pays("batch-usdt", { schemes: ["batch-settlement"], headers: charge(CHARGE) });
    assert.deepEqual(told.usdt, [10 * PRICE, 0]);
    const took = await rig.balance(USDT, merchant);
    await shop.usdtChannels.claimAndSettle();
    assert.equal(await rig.balance(USDT, merchant) - took, BigInt(CHARGE));
  });

  test("a payer who leaves without asking: the facilitator tells, and what was claimed in time stays", async (t) => {
    // A chain of its own, since its clock is put forward.
    const apart = await startRig();
    t.after(() => apart.close());
    const store = await startStockServer({ facilitatorUrl: apart.facilitatorUrl });
    t.after(() => store.close());
    const wallet = await apart.fresh({ usdc: FUNDS });
    const client = fetchV2({ key: wallet.key, rpcUrl: apart.rpcUrl, schemes: ["batch-settlement"] });
    await client.call({ url: `${store.url}/batch-usdc/v1/chat/completions`, body, headers: charge(CHARGE) });
    const { channelConfig, voucher } = client.exchanges.at(-1).payment.payload;
    await apart.beginWithdrawal(channelConfig, 10 * PRICE);
    const { request } = apart.control.log[0];
    request.paymentPayload.payload = { type: "voucher", channelConfig, voucher };
    const { answer } = await ask("verify", request, { url: apart.facilitatorUrl });
    assert.equal(answer.isValid, true);
    assert.equal(answer.extra.withdrawRequestedAt, (await apart.channel(voucher.channelId)).withdrawRequestedAt);
    assert.ok(answer.extra.withdrawRequestedAt > 0);
    await store.channels.claim();
    await apart.finishWithdrawal(channelConfig);
    await store.channels.settle();
    assert.equal(await apart.balance(USDC, merchant), BigInt(CHARGE));
    assert.equal(await apart.balance(USDC, wallet), BigInt(FUNDS - CHARGE));
  });

  test("a server that signs claims and refunds itself", async (t) => {
    const own = await startStockServer({ facilitatorUrl: rig.facilitatorUrl, payTo: deployer.address, receiverAuthorizer: deployer });
    t.after(() => own.close());
    const wallet = await fresh();
    const client = fetchV2({ key: wallet.key, rpcUrl: rig.rpcUrl, schemes: ["batch-settlement"] });
    const url = `${own.url}/batch-usdc/v1/chat/completions`;
    await client.call({ url, body, headers: charge(CHARGE) });
    assert.equal(client.exchanges[0].required.accepts[0].extra.receiverAuthorizer, deployer.address);
    await own.channels.claimAndSettle();
    assert.equal(await rig.balance(USDC, deployer), BigInt(CHARGE));
    await client.refund(url);
    assert.equal(await rig.balance(USDC, wallet), BigInt(FUNDS - CHARGE));
  });
});

describe("what clients choose", () => {
  test("the first offer that they know, and USDT only where they are told to", async () => {
    assert.equal((await pays("all")).scheme, "batch-settlement");
    assert.equal((await pays("all", { schemes: ["exact", "upto"] })).scheme, "upto");
    assert.equal((await pays("all", { schemes: ["exact"] })).asset, USDC);
    assert.equal((await pays("all", { schemes: ["exact"], tokens: [USDT] })).asset, USDT);
    await assert.rejects(pays("exact-usdt", { schemes: ["exact"], tokens: [] }), /spendControls/);
  });

  test("who has paid signs in", async () => {
    const told = await pays("exact-usdc", { schemes: ["exact"], siwx: true });
    assert.deepEqual(told.client.exchanges.map(({ status }) => status), [402, 402, 200]);
    const again = await calls(told.client, told.wallet, "exact-usdc");
    assert.equal(again.status, 200);
    assert.equal(again.signedIn, true);
    assert.deepEqual(again.usdc, [0, 0]);
  });
});

describe("the facilitator told to misbehave", () => {
  const control = (method, value) => fetch(`${rig.facilitatorUrl}/control`, { method, body: value && JSON.stringify(value) });
  let payment, wallet;
  // A payment that is signed and not settled: the server's first call fails, and is taken out of the log.
  async function signed() {
    wallet = await rig.fresh({ usdc: FUNDS });
    const client = fetchV2({ key: wallet.key, schemes: ["exact"] });
    await control("PUT", { lie: "valid" });
    await control("PUT", { down: true });
    await client.call({ url: at("exact-usdc"), body }).catch(() => {});
    payment = rig.control.log[0].request;
    await control("DELETE");
  }
  const held = async () => Number(await rig.balance(USDC, wallet));

  test("says what it knows", async () => {
    const { kinds, extensions } = await (await fetch(`${rig.facilitatorUrl}/supported`)).json();
    assert.deepEqual(kinds.map(({ x402Version, scheme, network }) => `${x402Version} ${scheme} ${network}`), [
      "2 exact eip155:84532", "2 upto eip155:84532", "2 batch-settlement eip155:84532", "1 exact base-sepolia",
    ]);
    assert.deepEqual(kinds[1].extra, { facilitatorAddress: facilitator.address });
    assert.deepEqual(kinds[2].extra, { receiverAuthorizer: authorizer.address });
    assert.deepEqual(extensions, ["eip2612GasSponsoring", "erc20ApprovalGasSponsoring"]);
  });

  test("refuses orders that it does not know", async () => {
    for (const wrong of [{ nothing: 1 }, { lie: "big" }, { times: 0 }, []]) assert.equal((await control("PUT", wrong)).status, 400);
  });

  test("is down for a while", async () => {
    await signed();
    await control("PUT", { down: true, times: 2 });
    await assert.rejects(ask("verify", payment), (error) => error.cause.code === "ECONNRESET");
    await assert.rejects(ask("settle", payment));
    assert.equal((await ask("verify", payment)).answer.isValid, true);
    const seen = await (await control("GET")).json();
    assert.deepEqual([seen.verify, seen.settle], [2, 1]);
    assert.deepEqual(seen.log.map(({ status }) => status), ["reset", "reset", 200]);
  });

  test("is slow with one of its operations", async () => {
    await signed();
    await control("PUT", { delay_ms: 300, on: "settle" });
    const from = Date.now();
    await ask("verify", payment);
    assert.ok(Date.now() - from < 250);
    assert.equal((await ask("settle", payment)).answer.success, true);
    assert.ok(Date.now() - from >= 300);
  });

  test("lies that it is good, and that it is settled", async () => {
    await signed();
    const forged = structuredClone(payment);
    forged.paymentPayload.payload.authorization.value = "1";
    await control("PUT", { lie: "valid" });
    assert.equal((await ask("verify", forged)).answer.isValid, true);
    await control("PUT", { lie: "settled" });
    const { answer } = await ask("settle", payment);
    assert.equal(answer.success, true);
    assert.match(answer.transaction, /^0x[0-9a-f]{64}$/);
    assert.equal(await held(), FUNDS);
    await assert.rejects(rig.reader.getTransaction({ hash: answer.transaction }));
  });

  test("speaks like x402-rs", async () => {
    await signed();
    await control("PUT", { dialect: "rs" });
    const cheap = structuredClone(payment);
    cheap.paymentRequirements.amount = "9999";
    assert.deepEqual(await refused("verify", cheap), [400, "invalid_payment_amount"]);
    assert.equal((await ask("settle", payment)).answer.success, true);
    assert.deepEqual(await refused("settle", payment), [500, "unexpected_error"]);
  });

  test("settles and never says so", async () => {
    await signed();
    await control("PUT", { settle_then_timeout: true, times: 1 });
    await assert.rejects(ask("settle", payment, { signal: AbortSignal.timeout(400) }), { name: "TimeoutError" });
    assert.equal(await held(), FUNDS - PRICE);
    assert.deepEqual(await refused("settle", payment), [200, "invalid_exact_evm_nonce_already_used"]);
  });

  test("settles and has not seen it yet", async () => {
    await signed();
    await control("PUT", { pending: true, times: 1 });
    const first = await ask("settle", payment);
    assert.equal(first.answer.errorReason, "settlement_pending");
    const second = await ask("settle", payment);
    assert.deepEqual([second.answer.success, second.answer.transaction], [true, first.answer.transaction]);
    assert.equal(await held(), FUNDS - PRICE);
  });

  async function refused(operation, request) {
    const { status, answer } = await ask(operation, request);
    return [status, answer.invalidReason ?? answer.errorReason];
  }
});

async function ask(operation, request, { signal, url = rig.facilitatorUrl } = {}) {
  const response = await fetch(`${url}/${operation}`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(request), signal });
  return { status: response.status, answer: await response.json() };
}

describe("the rig as a program", () => {
  const program = fileURLToPath(new URL("rig.mjs", import.meta.url));
  const env = { ...process.env, CHAIN_PORT: "0", FACILITATOR_PORT: "0" };
  const answers = (url) => fetch(url, { method: "POST", body: "{}" }).then(() => true, () => false);
  async function gone(...urls) {
    for (let i = 0; i < 40 && (await Promise.all(urls.map(answers))).some(Boolean); i++) await wait(50);
    return !(await Promise.all(urls.map(answers))).some(Boolean);
  }
  async function started(t, command, args) {
    const child = spawn(command, args, { env, stdio: ["ignore", "pipe", "inherit"] });
    t.after(() => child.kill("SIGKILL"));
    const [line] = await once(child.stdout, "data");
    return { child, told: JSON.parse(line) };
  }

  test("says where it is in one line, and leaves nothing at SIGTERM", async (t) => {
    const { child, told } = await started(t, process.execPath, [program]);
    assert.equal(told.pid, child.pid);
    child.kill("SIGTERM");
    assert.deepEqual(await once(child, "exit"), [0, null]);
    assert.ok(await gone(told.rpc_url, told.facilitator_url));
  });

  test("ends when its parent does, and its chain when it is killed", async (t) => {
    const [orphan, killed] = await Promise.all([
      started(t, "/bin/sh", ["-c", `"$0" "$1" & wait`, process.execPath, program]),
      started(t, process.execPath, [program]),
    ]);
    assert.ok(await answers(orphan.told.rpc_url) && await answers(killed.told.rpc_url));
    orphan.child.kill("SIGKILL");
    killed.child.kill("SIGKILL");
    assert.ok(await gone(orphan.told.rpc_url, orphan.told.facilitator_url, killed.told.rpc_url));
  });

  test("its blocks take the time they are given", async (t) => {
    const slow = await startRig({ blockTime: 1 });
    t.after(() => slow.close());
    const wallet = await slow.fresh({ usdc: 5 });
    assert.equal(await slow.balance(USDC, wallet), 5n);
    const [first, from] = [await slow.reader.getBlockNumber(), Date.now()];
    while (await slow.reader.getBlockNumber() === first) await wait(20);
    assert.ok(Date.now() - from <= 1500);
  });

  test("says which port is taken", async () => {
    await assert.rejects(startRig({ chainPort: Number(new URL(rig.rpcUrl).port) }), /the chain/);
  });
});

// PYTHON is an interpreter with the packages of clients/python/requirements.txt.
test("stock clients in Python", { skip: !process.env.PYTHON && "PYTHON is not set" }, async () => {
  const pay = fileURLToPath(new URL("clients/python/pay.py", import.meta.url));
  const runs = [
    ["httpx", "upto-usdt", { SCHEMES: "upto" }, "usdt", PRICE],
    ["requests", "exact-usdc", { SCHEMES: "exact" }, "usdc", PRICE],
    ["openai", "batch-usdc", { SCHEMES: "batch-settlement", STREAM: "1" }, "usdc", 10 * PRICE],
  ];
  await Promise.all(runs.map(async ([client, what, env, token, spent]) => {
    const wallet = await fresh();
    const { stdout } = await promisify(execFile)(process.env.PYTHON, [pay, client, at(what)], { env: { ...process.env, ...env, PAYER_KEY: wallet.key, RPC_URL: rig.rpcUrl } });
    const told = JSON.parse(stdout);
    assert.equal(told.receipt?.success, true, stdout);
    assert.equal(await rig.balance(token === "usdc" ? USDC : USDT, wallet), BigInt(FUNDS - spent));
    if (client === "openai") assert.equal(told.text, "paid and answered");
  }));
});

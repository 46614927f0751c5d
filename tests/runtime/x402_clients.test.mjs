// Stock clients of every kind against the worker: version 1, OpenAI's library over the paying fetch, and Python's.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { fetchV1 } from "../x402/clients/fetch_v1.mjs";
import { openaiJs } from "../x402/clients/openai_js.mjs";
import { nanos } from "./books.mjs";
import { body, merchant, provider, startPaid, units, USDC } from "./wallets.mjs";

const PYTHON = process.env.PYTHON;
const PAY = new URL("../x402/clients/python/pay.py", import.meta.url).pathname;

let paid;
before(async () => { paid = await startPaid({ vars: { X402_CLAIM_AFTER_S: "1" } }); });
after(() => paid?.close());

test("x402-fetch of version 1 pays, and hears of it in its own header", async () => {
  const wallet = await paid.fresh();
  const client = await fetchV1({ key: wallet.key });
  const { told, moved } = await paid.moved(wallet, () => client.call({ url: paid.url, body }));
  const { receipt } = client.exchanges.at(-1);
  assert.deepEqual([receipt.success, receipt.network], [true, "base-sepolia"]);
  const balance = await paid.restOf(wallet);
  assert.deepEqual(moved, [nanos(balance.paid_usd) / 1000n, nanos(balance.paid_usd) / 1000n]);
  assert.equal(balance.spent_usd, told.answer.usage.cost_usd);
  await paid.booksOf(wallet);
});

for (const scheme of ["exact", "upto", "batch-settlement"]) {
  test(`OpenAI's library pays by ${scheme}, whole and streamed`, async () => {
    const wallet = await paid.fresh();
    const client = openaiJs({ key: wallet.key, rpcUrl: paid.rig.rpcUrl, schemes: [scheme] });
    await paid.here.sandbox.set(provider, { chunk_delay_ms: 10 });
    const { answer } = await client.call({ url: paid.url, body });
    assert.match(answer.choices[0].message.content, /simulated/);
    // A wallet that has yet to allow Permit2 pays one call after the other.
    await paid.restOf(wallet);
    if (scheme === "upto") await new Promise((done) => setTimeout(done, 500));
    const streamed = await client.call({ url: paid.url, body, stream: true });
    assert.match(streamed.text, /simulated/);
    assert.ok(streamed.events.length > 10);
    const { entries } = await paid.booksOf(wallet);
    assert.equal(entries.filter(({ kind }) => kind === "usage").length, 2);
  });
}

/** A call, or several, of a client in Python: what it printed of each. */
async function python(client, wallet, env = {}) {
  const { stdout } = await promisify(execFile)(PYTHON, [PAY, client, paid.url, JSON.stringify(body)], {
    env: { ...process.env, PAYER_KEY: wallet.key, RPC_URL: paid.rig.rpcUrl, ...env },
  });
  return stdout.trim().split("\n").map((line) => JSON.parse(line));
}

test("Python's httpx, requests and OpenAI's library pay by every scheme", { skip: !PYTHON && "PYTHON is not set" }, async () => {
  const runs = [
    ["httpx", { SCHEMES: "exact" }], ["requests", { SCHEMES: "upto" }], ["openai", { SCHEMES: "exact", STREAM: "1" }],
    ["httpx", { SCHEMES: "batch-settlement", CALLS: "3" }], ["openai", { SCHEMES: "upto" }],
  ];
  await Promise.all(runs.map(async ([client, env]) => {
    const wallet = await paid.fresh();
    const calls = await python(client, wallet, env);
    for (const call of calls) {
      assert.equal(call.status, 200, `${client} ${JSON.stringify(env)}: ${JSON.stringify(call).slice(0, 500)}`);
      if (env.STREAM) assert.match(call.text, /simulated/);
      else assert.match(call.answer.choices[0].message.content, /simulated/);
    }
    const { entries, told } = await paid.booksOf(wallet);
    assert.equal(entries.filter(({ kind }) => kind === "usage").length, calls.length);
    if (env.SCHEMES === "exact") assert.equal(5_000_000n - await paid.rig.balance(USDC, wallet), nanos(told.paid_usd) / 1000n);
  }));
});

test("Python's httpx signs in and draws on the balance", { skip: !PYTHON && "PYTHON is not set" }, async () => {
  const wallet = await paid.fresh();
  await paid.clientOf(wallet, { schemes: ["exact"] }).call({ url: paid.url, body: { ...body, max_tokens: 20_000 } });
  const before = await paid.rig.balance(USDC, wallet);
  const [call] = await python("httpx", wallet, { SCHEMES: "exact", SIWX: "1" });
  assert.deepEqual([call.status, call.signedIn, call.receipt], [200, true, undefined], JSON.stringify(call).slice(0, 500));
  assert.equal(await paid.rig.balance(USDC, wallet), before);
});

// Wallets at the worker: a payment rig beside it, paying clients, sign-ins, what moved on chain, and the books of a wallet's account.
import assert from "node:assert/strict";
import { authorizer, keyOf, merchant, merchantAuthorizer, NETWORK, USDC, USDT } from "../x402/chain.mjs";
import { fetchV2 } from "../x402/clients/fetch_v2.mjs";
import { startRig } from "../x402/rig.mjs";
import { nanos, sum } from "./books.mjs";
import { readStream, start, until } from "./harness.mjs";

export { authorizer, keyOf, merchant, merchantAuthorizer, NETWORK, USDC, USDT };
export const model = "openai/gpt-5-mini";
export const provider = "openai";
export const body = { model, max_tokens: 200, messages: [{ role: "user", content: "Hello!" }] };
export const FUNDS = 5_000_000n;

/** Dollars as atomic units, rounded up. */
export const units = (usd) => (nanos(usd) + 999n) / 1000n;
export const encoded = (value) => Buffer.from(typeof value === "string" ? value : JSON.stringify(value)).toString("base64");
export const decoded = (header) => (header ? JSON.parse(Buffer.from(header, "base64").toString("utf8")) : undefined);

/** The variables of a worker that is paid through these facilitators, on this chain. */
export const paidBy = (rig, facilitators = [rig.facilitatorUrl]) => ({
  X402_PAY_TO: merchant.address, X402_NETWORK: NETWORK, X402_FACILITATORS: facilitators.join(), X402_RPC_URL: rig.rpcUrl,
});

/** A rig and a worker of their own; the caller must `await close()`. Unless `cold`, the worker knows its facilitators already. */
export async function startPaid({ vars = {}, cold = false } = {}) {
  const rig = await startRig();
  try {
    const here = await start({ vars: { ...paidBy(rig), OUTBOX_FLUSH_MS: "100", ...vars } });
    const paid = { rig, here, ...tools(rig, here), close: async () => { await here.close(); await rig.close(); } };
    if (!cold) await until("every scheme is offered", async () => (await paid.priced()).offer("upto"));
    return paid;
  } catch (error) {
    await rig.close();
    throw error;
  }
}

/** What tests do with a worker `here` that is paid through `rig`. */
export function tools(rig, here) {
  const at = (path) => new URL(path, here.url).href;
  const url = at("/v1/chat/completions");

  const fresh = (funds = {}) => rig.fresh({ usdc: FUNDS, usdt: FUNDS, ...funds });
  const clientOf = (wallet, options = {}) => fetchV2({ key: wallet.key, rpcUrl: rig.rpcUrl, ...options });

  /** What the work moved, in atomic units: out of the wallet, and into ours. Settled later: `settles` says how much, and it is waited for. */
  async function moved(wallet, work, { token = USDC, settles } = {}) {
    const look = () => Promise.all([rig.balance(token, wallet), rig.balance(token, merchant)]);
    const [had, took] = await look();
    const told = await work();
    const seen = async () => { const [has, got] = await look(); return [had - has, got - took]; };
    const due = typeof settles === "function" ? settles(told) : settles;
    if (due !== undefined) await until(`${due} units are settled`, async () => (await seen())[1] >= due, { ms: 10_000 });
    return { told, moved: await seen() };
  }

  /** The 402 of a request: its answer, and the offers in its header. */
  async function priced(asked = body, { path = "/v1/chat/completions", headers } = {}) {
    const answer = await here.call("POST", path, undefined, asked, headers);
    const required = decoded(answer.headers.get("payment-required"));
    const offer = (scheme, token = USDC) => required.accepts.find((one) => one.scheme === scheme && one.asset.toLowerCase() === token.toLowerCase());
    return { answer, required, offer };
  }

  /** A payment for a request by a stock client, not sent yet. `change` may change what is signed for. */
  async function signed(wallet, scheme, { asked = body, token = USDC, path, change = (required) => required, options } = {}) {
    const { required } = await priced(asked, { path });
    const { client } = clientOf(wallet, { schemes: [scheme], tokens: [token], ...options });
    return client.createPaymentPayload(change(required));
  }

  /** Sends a request with a payment as it stands. */
  const pay = (payment, asked = body, { path = "/v1/chat/completions", name = "payment-signature", headers } = {}) =>
    here.call("POST", path, undefined, asked, { [name]: typeof payment === "string" ? payment : encoded(payment), ...headers });

  /** A streamed call: its frames, and when each came. */
  async function streamed(paying, asked = body) {
    const answer = await paying(url, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ ...asked, stream: true }) });
    const decoder = new TextDecoder();
    const times = [];
    let text = "";
    for await (const chunk of answer.body) {
      text += decoder.decode(chunk, { stream: true });
      times.push(performance.now());
    }
    return { status: answer.status, headers: answer.headers, text, times, ...readStream(text) };
  }

  /** Signs in by hand, by what a 401 or a 402 asks for; `change` may forge it before it is signed, `after` afterwards. */
  async function signIn(wallet, { info, change = (it) => it, after = (it) => it, chainId = NETWORK }) {
    const told = change({ ...info, address: wallet.address, chainId, type: "eip191" });
    return encoded(after({ ...told, signature: await wallet.signMessage({ message: messageOf(told) }) }));
  }

  /** A GET as a wallet: what is to be signed is asked for first. */
  async function getAs(wallet, path, forge = {}) {
    const { body: told } = await here.call("GET", path);
    assert.ok(told.error?.metadata?.sign_in, `GET ${path} does not say what is to be signed: ${JSON.stringify(told)}`);
    return here.call("GET", path, undefined, undefined, { "sign-in-with-x": await signIn(wallet, { ...told.error.metadata.sign_in, ...forge }) });
  }

  const balanceOf = async (wallet) => {
    const { status, body: told } = await getAs(wallet, "/v1/balance");
    assert.equal(status, 200, JSON.stringify(told));
    return told;
  };
  /** The same once nothing is held. */
  const restOf = (wallet) => until("nothing is held", async () => {
    const told = await balanceOf(wallet);
    return told.held_usd === "0" && told;
  });

  const accountOf = (wallet) => `payer:${NETWORK}:${wallet.address.toLowerCase()}`;
  const worked = async () => (await here.sandbox.seen(provider)).calls;
  const asks = () => ({ verify: rig.control.counts.verify, settle: rig.control.counts.settle });

  /** A wallet's entries in the journal, once all are there: each sums to zero, none is a fee, and together they are the balance. */
  async function booksOf(wallet) {
    const { DB } = await here.worker.getEnv();
    const query = "SELECT id, kind, CAST(amount AS TEXT) AS amount, legs, note FROM entry WHERE account = ?1 ORDER BY seq";
    const statement = DB.prepare(query).bind(accountOf(wallet));
    return until("the journal has the wallet's books", async () => {
      const told = await balanceOf(wallet);
      const entries = (await statement.all()).results.map((row) => ({ ...row, amount: BigInt(row.amount), legs: JSON.parse(row.legs) }));
      for (const { id, legs } of entries) {
        assert.equal(sum(legs.map(({ amount_usd }) => amount_usd)), 0n, `${id} sums to zero`);
        for (const leg of legs) if (leg.account === "income:fees") assert.equal(leg.amount_usd, "0");
      }
      const of = (kind) => entries.filter((entry) => entry.kind === kind).reduce((all, { amount }) => all + amount, 0n);
      const [credits, charges] = [of("credit"), of("usage")];
      assert.equal(credits, nanos(told.paid_usd));
      assert.equal(-charges, nanos(told.spent_usd));
      assert.equal(credits + charges, nanos(told.available_usd) + nanos(told.held_usd));
      return { entries, told };
    }, { ms: 5_000 });
  }

  return { url, at, fresh, clientOf, moved, priced, signed, pay, streamed, signIn, getAs, balanceOf, restOf, accountOf, worked, asks, booksOf };
}

/** The text a wallet signs to sign in: EIP-4361, as the extension's own package writes it. */
export function messageOf({ domain, address, statement, uri, version, chainId, nonce, issuedAt, expirationTime, notBefore, requestId, resources }) {
  const lines = [`${domain} wants you to sign in with your Ethereum account:`, address, "", ...(statement ? [statement] : []), "", `URI: ${uri}`,
    `Version: ${version}`, `Chain ID: ${chainId.split(":")[1]}`, `Nonce: ${nonce}`, `Issued At: ${issuedAt}`];
  for (const [title, value] of [["Expiration Time", expirationTime], ["Not Before", notBefore], ["Request ID", requestId]]) {
    if (value) lines.push(`${title}: ${value}`);
  }
  if (resources) lines.push("Resources:", ...resources.map((one) => `- ${one}`));
  return lines.join("\n");
}

// Reading an account's books: amounts to the nano-dollar, the whole ledger, and whether it holds together.
import assert from "node:assert/strict";
import { until } from "./harness.mjs";

/** Dollars to nano-dollars, exactly. */
export function nanos(usd) {
  const [, sign, whole, part = ""] = /^(-?)(\d+)(?:\.(\d{1,9}))?$/.exec(usd);
  return (sign ? -1n : 1n) * (BigInt(whole) * 1_000_000_000n + BigInt(part.padEnd(9, "0")));
}

export const sum = (amounts) => amounts.reduce((all, amount) => all + nanos(amount), 0n);

/** What an answer says it cost, streamed or whole. */
export const costOf = ({ comment, body }) => (comment ?? body.usage).cost_usd;

/** Every entry of an organisation's ledger, newest first, page by page. */
export async function ledger(call, adminKey) {
  const entries = [];
  for (let after = ""; ;) {
    const { status, body } = await call("GET", `/admin/v1/ledger/entries?limit=100${after}`, adminKey);
    assert.equal(status, 200, JSON.stringify(body));
    entries.push(...body.data);
    if (!body.has_more) return entries;
    after = `&after=${encodeURIComponent(body.last_id)}`;
  }
}

/** The entry of a call, once the journal has it. */
export const entryOf = (call, adminKey, id, options) =>
  until("the call is in the ledger", async () => (await ledger(call, adminKey)).find((entry) => entry.id === id), options);

/** The wallet once nothing is held: only then a posting that comes after the answer is there. */
export const walletAtRest = (call, adminKey) => until("nothing is held", async () => {
  const { status, body: wallet } = await call("GET", "/admin/v1/wallet", adminKey);
  assert.equal(status, 200, JSON.stringify(wallet));
  assert.equal(nanos(wallet.available_usd), nanos(wallet.credits_usd) - nanos(wallet.posted_usd) - nanos(wallet.held_usd));
  return wallet.held_usd === "0" && wallet;
});

/** Every entry balances, is sealed, and follows the one before it. Newest first, from the account's very first on. */
export function soundChain(entries) {
  let before = "0".repeat(64);
  for (const [place, entry] of entries.toReversed().entries()) {
    assert.equal(entry.seq, place + 1, "no gap");
    assert.equal(entry.prev_hash, before);
    assert.ok(entry.sound);
    assert.equal(sum(entry.legs.map(({ amount_usd }) => amount_usd)), 0n);
    before = entry.hash;
  }
}

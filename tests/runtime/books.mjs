// Reading an account's books: amounts to the nano-dollar, the whole ledger, and whether it holds together.
import assert from "node:assert/strict";

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
    after = `&after=${body.last_id}`;
  }
}

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

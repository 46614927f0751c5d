// What a price costs, and what it costs to refuse a payment that was signed by somebody else.
import { hashes, keygen, sign } from "@noble/secp256k1";
import { createHash, createHmac } from "node:crypto";
import { cpu } from "./machine.mjs";

hashes.sha256 = (bytes) => createHash("sha256").update(bytes).digest();
hashes.hmacSha256 = (key, bytes) => createHmac("sha256", key).update(bytes).digest();

const PATH = "/v1/chat/completions";
const AT_ONCE = 8;
const ask = (model) => JSON.stringify({ model, max_tokens: 100, messages: [{ role: "user", content: "Hello!" }] });

/** Requests a second, and CPU of the worker's process for each, in microseconds. */
async function round({ base, pid }, { headers = {}, body, status }, requests) {
  const one = async () => {
    const answer = await fetch(base + PATH, { method: "POST", headers: { "content-type": "application/json", ...headers }, body });
    await answer.arrayBuffer();
    if (answer.status !== status) throw new Error(`answered ${answer.status} where ${status} was expected`);
  };
  const [started, used] = [performance.now(), cpu(pid)];
  let left = requests;
  await Promise.all(Array.from({ length: AT_ONCE }, async () => { while (left-- > 0) await one(); }));
  return { cpu_us: (cpu(pid) - used) / 1000 / requests, per_s: requests / (performance.now() - started) * 1000 };
}

/** A payment by the offer of a challenge, with a signature that is one, of another key than it says. */
async function foreign(base, body) {
  const answer = await fetch(base + PATH, { method: "POST", headers: { "content-type": "application/json" }, body });
  const { accepts: [accepted] } = JSON.parse(Buffer.from(answer.headers.get("payment-required"), "base64"));
  const { secretKey } = keygen();
  const signature = sign(createHash("sha256").update("any").digest(), secretKey, { prehash: false });
  const now = Math.floor(Date.now() / 1000);
  const authorization = {
    from: `0x${"11".repeat(20)}`, to: accepted.payTo, value: accepted.amount, validAfter: "0", validBefore: `${now + 120}`, nonce: `0x${"22".repeat(32)}`,
  };
  const payload = { signature: `0x${Buffer.from(signature).toString("hex")}1b`, authorization };
  return Buffer.from(JSON.stringify({ x402Version: 2, accepted, payload })).toString("base64");
}

/** Rounds of each, in turn, after one that warms up. */
export async function payments(target, rounds, requests = 400) {
  const [model, auto] = ["openai/gpt-5-mini", "auto"].map(ask);
  const cases = {
    "a request that is refused before it is read": { body: "{", status: 400 },
    "the price of a named model": { body: model, status: 402 },
    "the price of auto, with a menu": { body: auto, status: 402 },
    "a payment that somebody else has signed": { body: model, status: 402, headers: { "payment-signature": await foreign(target.base, model) } },
  };
  const told = Object.fromEntries(Object.keys(cases).map((name) => [name, []]));
  for (let number = 0; number <= rounds; number++) {
    for (const [name, one] of Object.entries(cases)) {
      const figures = await round(target, one, requests);
      if (number > 0) told[name].push(figures);
    }
  }
  return told;
}

// Whose signature it is, and calls of facilitators. The curve is @noble/secp256k1's.
import { getPublicKey, recoverPublicKey, signAsync } from "@noble/secp256k1";

const PATIENCE = 30e3; // a settlement waits for a block or two

export class Payer {
  // The uncompressed point of the key that signed a digest; empty for none. `signature` begins with which of two points it is.
  static signer(digest, signature) {
    try { return recoverPublicKey(signature, digest, { prehash: false, isCompressed: false }); } catch { return new Uint8Array(); }
  }
  // The uncompressed point of a key of 32 bytes, and a signature by it: r, s and v. Both empty where the key is none.
  static point(key) {
    try { return getPublicKey(key, false); } catch { return new Uint8Array(); }
  }
  static async sign(digest, key) {
    const [place, ...numbers] = await signAsync(digest, key, { prehash: false, format: "recovered" });
    return Uint8Array.from([...numbers, 27 + place]);
  }
  // Status and body in one: two bytes, then the text. No answer is a status of 0.
  static async post(url, body) {
    try {
      const answer = await fetch(url, {
        method: "POST", body, headers: { "content-type": "application/json" }, redirect: "manual", signal: AbortSignal.timeout(PATIENCE),
      });
      return told(answer.status, await short(answer));
    } catch { return told(0, new Uint8Array()); }
  }
  // What a facilitator says of itself; empty for no answer.
  static async supported(url) {
    try {
      const answer = await fetch(`${url}/supported`, { redirect: "manual", signal: AbortSignal.timeout(1e3) });
      return answer.ok ? await answer.text() : "";
    } catch { return ""; }
  }
}

// At most 64 kB of an answer: the rest is none.
async function short(answer) {
  const [parts, reader] = [[], answer.body?.getReader()];
  for (let left = 65536; reader && left > 0;) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value.subarray(0, left));
    left -= value.length;
    if (left <= 0) await reader.cancel();
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

function told(status, body) {
  const all = new Uint8Array(body.length + 2);
  all.set([status >> 8, status & 255]);
  all.set(body, 2);
  return all;
}

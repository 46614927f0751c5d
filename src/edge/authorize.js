// What goes out in our name is signed here, beside the alarm: where the body of an errand about a channel has a digest goes a signature
// of it, by one of our keys. Where there is none, whoever gets it signs.
import { signAsync } from "@noble/secp256k1";

const hex = (bytes) => `0x${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
const unhex = (text) => Uint8Array.from(text.trim().slice(2).match(/../g), (two) => parseInt(two, 16));

async function signature(digest, key) {
  const [place, ...numbers] = await signAsync(unhex(digest), unhex(key), { prehash: false, format: "recovered" });
  return hex([...numbers, 27 + place]);
}

export async function authorized(body, key) {
  const errand = JSON.parse(body);
  const { payload } = errand.paymentPayload;
  for (const name of ["claimAuthorizerSignature", "refundAuthorizerSignature"]) {
    if (payload[name]) payload[name] = key && await signature(payload[name], key);
  }
  return JSON.stringify(errand);
}

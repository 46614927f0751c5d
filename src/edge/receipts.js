// Ed25519 by the platform. The private key is 32 bytes in hexadecimal; the public one is told as in RFC 8037.
const PKCS8 = "302e020100300506032b657004220420"; // what stands before the key in its PKCS #8 form, RFC 8410
const bytes = (hex) => Uint8Array.from(hex.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));

export class Receipts {
  // SHA-256 in hexadecimal.
  static async hash(bytes) {
    return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
  }
  // The signature of a text in base64url, and the public key; a line each.
  static async sign(seed, text) {
    const key = await crypto.subtle.importKey("pkcs8", bytes(PKCS8 + seed), "Ed25519", true, ["sign"]);
    const { x } = await crypto.subtle.exportKey("jwk", key);
    const signature = new Uint8Array(await crypto.subtle.sign("Ed25519", key, new TextEncoder().encode(text)));
    const base64 = btoa(String.fromCharCode(...signature));
    return `${base64.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "")}\n${x}`;
  }
}

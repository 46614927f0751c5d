// AES-256-GCM by the platform. `key` is 32 bytes in base64url; what belongs together is sealed with `aad`.
const bytes = (text) => Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (char) => char.charCodeAt(0));
const text = (bytes) => btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
const keyOf = (key, use) => crypto.subtle.importKey("raw", bytes(key), "AES-GCM", false, [use]);
const how = (iv, aad) => ({ name: "AES-GCM", iv, additionalData: new TextEncoder().encode(aad) });

export class Vault {
  // A fresh nonce of 12 bytes, then the sealed text with its tag.
  static async seal(key, aad, plain) {
    const iv = crypto.getRandomValues(new Uint8Array(12));
    const sealed = await crypto.subtle.encrypt(how(iv, aad), await keyOf(key, "encrypt"), new TextEncoder().encode(plain));
    return text(new Uint8Array([...iv, ...new Uint8Array(sealed)]));
  }
  static async open(key, aad, sealed) {
    const all = bytes(sealed);
    const plain = await crypto.subtle.decrypt(how(all.subarray(0, 12), aad), await keyOf(key, "decrypt"), all.subarray(12));
    return new TextDecoder().decode(plain);
  }
}

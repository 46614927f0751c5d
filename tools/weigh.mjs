// What a deployment would upload, weighed as the platform weighs it: gzipped. `weigh.mjs DIR` holds a bundle against the limits.
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

/** What code is to weigh at most, and what it may not weigh: payments have brought it above what it is to be. */
export const CODE_BYTES_GOAL = 400_000;
export const CODE_BYTES_MAX = 440_000;
export const UPLOAD_BYTES_MAX = 1_000_000;

/** Files that are compiled into the Wasm as they are, and are data, not code. */
const DATA = ["schema/catalog.json", "schema/quality.bin"];

/** The modules of an upload, by name; wrangler adds a source map and a README, which are not uploaded. */
export function modules(folder) {
  const names = readdirSync(folder, { recursive: true }).filter((name) => name.endsWith(".js") || name.endsWith(".wasm"));
  return names.map((name) => ({ name, bytes: readFileSync(join(folder, name)) }));
}

const gzipped = (bytes) => gzipSync(bytes, { level: 9 }).length;

/** Code and data apart: the data's share is what the upload loses when it is cut out. */
export function weigh(root, folder) {
  const all = modules(folder);
  const rows = all.map(({ name, bytes }) => ({ name, raw: bytes.length, gzip: gzipped(bytes) }));
  const upload = rows.reduce((sum, row) => sum + row.gzip, 0);
  let data = 0;
  for (const file of DATA) {
    const text = readFileSync(join(root, file));
    const holder = all.find(({ bytes }) => bytes.includes(text));
    if (!holder) { console.log(`  ${file} is not in the upload as it stands; its weight counts as code.`); continue; }
    const at = holder.bytes.indexOf(text);
    const without = Buffer.concat([holder.bytes.subarray(0, at), holder.bytes.subarray(at + text.length)]);
    data += gzipped(holder.bytes) - gzipped(without);
  }
  return { modules: rows, upload, data, code: upload - data };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { upload, code } = weigh(join(import.meta.dirname, ".."), process.argv[2]);
  for (const [name, weight, most] of [["upload", upload, UPLOAD_BYTES_MAX], ["code", code, CODE_BYTES_MAX]]) {
    console.log(`${name.padEnd(8)} ${`${weight}`.padStart(8)} bytes compressed, of ${most}`);
    if (weight > most) {
      console.error(`The ${name} is ${weight} bytes compressed; the limit is ${most}.`);
      process.exitCode = 1;
    }
  }
}

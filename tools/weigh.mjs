// `weigh.mjs DIR`: the size of a bundled worker, raw and compressed, against its limits. Code is everything but the
// data section of the Wasm, which holds the router's weights and the catalog for emergencies.
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";

const LIMIT = { upload: 1_000_000, code: 400_000 }; // bytes, compressed
const DATA_SECTION = 11;

/** A WebAssembly module without its data: a header of eight bytes, then sections of id, length (LEB128) and content. */
function withoutData(wasm) {
  const kept = [wasm.subarray(0, 8)];
  for (let at = 8; at < wasm.length;) {
    const start = at;
    let size = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = wasm[++at];
      size += (byte & 127) * 2 ** shift;
      if (byte < 128) break;
    }
    at += 1 + size;
    if (wasm[start] !== DATA_SECTION) kept.push(wasm.subarray(start, at));
  }
  return Buffer.concat(kept);
}

const weigh = (bytes) => ({ raw: bytes.length, gzip: gzipSync(bytes).length });
const row = (name, { raw, gzip }) => `${name.padEnd(12)} ${`${raw}`.padStart(10)} ${`${gzip}`.padStart(10)}`;

const directory = process.argv[2];
const files = readdirSync(directory).filter((name) => /\.(js|wasm)$/.test(name)).map((name) => readFileSync(join(directory, name)));
const isWasm = (file) => file.subarray(0, 4).equals(Buffer.from("\0asm"));
const sum = (list) => list.map(weigh).reduce((a, b) => ({ raw: a.raw + b.raw, gzip: a.gzip + b.gzip }), { raw: 0, gzip: 0 });
const total = { upload: sum(files), code: sum(files.map((file) => (isWasm(file) ? withoutData(file) : file))) };

console.log(`\n${"bytes".padEnd(12)} ${"raw".padStart(10)} ${"gzip".padStart(10)}`);
for (const name of ["upload", "code"]) console.log(row(name, total[name]));
for (const name of ["upload", "code"]) {
  if (total[name].gzip > LIMIT[name]) {
    console.error(`The ${name} is ${total[name].gzip} bytes compressed; the limit is ${LIMIT[name]}.`);
    process.exitCode = 1;
  }
}

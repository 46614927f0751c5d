// `make replay REQUEST=req_…` and `make backtest`: fetches rows of the ledger with an admin key and hands them to tools/replay. Beside
// `make run` it finds everything in STATE_DIR; else set BASE_URL and ADMIN_KEY of a deployed worker. FILE=rows.jsonl reads rows that
// were kept instead, SAVE=rows.jsonl keeps them.
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const { REQUEST, MODE, CATALOG, LIMIT, FILE, SAVE, OUT, REPLAY } = process.env;
const state = join(process.env.STATE_DIR || ".state", "run.json");
const run = existsSync(state) ? JSON.parse(readFileSync(state, "utf8")) : {};
const base = process.env.BASE_URL || run.base_url;
const key = process.env.ADMIN_KEY || run.admin_key;

function fail(why) {
  console.error(why);
  process.exit(2);
}

async function fetched(path) {
  if (!base || !key) fail("Start `make run` first, with the same STATE_DIR as here, or set BASE_URL and ADMIN_KEY of a deployed worker.");
  const answer = await fetch(base + path, { headers: { authorization: `Bearer ${key}` } });
  const body = await answer.json();
  if (!answer.ok) fail(`${answer.status}: ${body.error?.message}`);
  return body;
}

if (LIMIT && !(Number(LIMIT) > 0)) fail("LIMIT is a number of rows.");

/** The newest rows, oldest first: what was decided first is planned again first. */
async function newest(most) {
  const rows = [];
  for (let after = ""; rows.length < most;) {
    const page = await fetched(`/admin/v1/ledger/entries?limit=${Math.min(100, most - rows.length)}${after && `&after=${after}`}`);
    rows.push(...page.data);
    if (!page.has_more) break;
    after = page.last_id;
  }
  return rows.reverse();
}

/** The row of a request. */
async function ofRequest(id) {
  const row = await fetched(`/admin/v1/ledger/entries/${encodeURIComponent(id)}`);
  return [row];
}

const kept = FILE && readFileSync(FILE, "utf8").split("\n").filter((line) => line.trim());
const rows = kept ?? (REQUEST ? await ofRequest(REQUEST) : await newest(Number(LIMIT || 1_000))).map((row) => JSON.stringify(row));
if (SAVE) writeFileSync(SAVE, rows.join("\n") + "\n");
const wanted = REQUEST && kept ? rows.filter((row) => JSON.parse(row).id === REQUEST) : rows;
const backtest = ["backtest", CATALOG || "schema/catalog.json", MODE || "", OUT || ""];
const done = spawnSync(REPLAY, REQUEST ? ["one"] : backtest, { input: wanted.join("\n"), stdio: ["pipe", "inherit", "inherit"] });
process.exitCode = done.status ?? 2;

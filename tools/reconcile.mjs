// `make reconcile`: holds every account against the journal, asks providers for charges that are not known yet, and says what
// does not agree. Beside `make run` it finds everything in STATE_DIR; else set BASE_URL and OPERATOR_TOKEN.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

const file = join(process.env.STATE_DIR || ".state", "run.json");
const run = existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : {};
const base = process.env.BASE_URL || run.base_url;
const token = process.env.OPERATOR_TOKEN || run.operator_token;
if (!base || !token) {
  console.error("Start `make run` first, with the same STATE_DIR as here, or set BASE_URL and OPERATOR_TOKEN of a deployed worker.");
  process.exit(2);
}

const ask = (query) => fetch(`${base}/platform/v1/reconcile?${new URLSearchParams(query)}`, {
  method: "POST", headers: { authorization: `Bearer ${token}` },
});

/** A long chain is read in several goes. */
async function readOn(report) {
  while (report.agrees && report.read_through < report.entries) {
    const answer = await ask({ organization: report.id, from: report.read_through + 1 });
    if (!answer.ok) return Object.assign(report, { agrees: false, wrong: [`entries from ${report.read_through + 1} on could not be read`] });
    const { agrees, wrong, read_through } = (await answer.json()).data[0];
    if (read_through <= report.read_through) break;
    Object.assign(report, { agrees, wrong, read_through });
  }
}

let query = process.env.ORGANIZATION ? { organization: process.env.ORGANIZATION } : {};
let wrong = 0;
for (let more = true; more;) {
  const answer = await ask(query);
  const page = await answer.json();
  if (!answer.ok) {
    console.error(`${answer.status}: ${page.error?.message}`);
    process.exit(2);
  }
  for (const one of page.data) await readOn(one);
  for (const { id, agrees, wrong: what, entries, waiting, open, suspended, resolved, posted_usd } of page.data) {
    console.log(`${agrees ? "agrees" : "WRONG "}  ${id}  ${entries} entries, ${posted_usd} USD posted, ${waiting} waiting, ${open} open, ${suspended} unknown`);
    for (const one of resolved) console.log(`        resolved ${one.id}: ${one.charge_usd} USD, told by the provider`);
    for (const line of what) console.log(`        ${line}`);
    wrong += agrees ? 0 : 1;
  }
  more = page.has_more;
  query = { after: page.last_id ?? "" };
}
process.exitCode = wrong ? 1 : 0;

// `make reconcile`: holds every account against the journal, asks providers for charges that are not known yet, and says what
// does not agree. Beside `make run` it finds everything in STATE_DIR; else set BASE_URL and OPERATOR_TOKEN.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

const file = join(process.env.STATE_DIR || ".state", "run.json");
const run = existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : {};
const base = process.env.BASE_URL || run.base_url;
const token = process.env.OPERATOR_TOKEN || run.operator_token;
if (!base || !token) {
  console.error("Start `make run` first, or set BASE_URL and OPERATOR_TOKEN of a deployed worker.");
  process.exit(2);
}

let after = process.env.ORGANIZATION ? `organization=${encodeURIComponent(process.env.ORGANIZATION)}` : "";
let wrong = 0;
for (let more = true; more;) {
  const answer = await fetch(`${base}/platform/v1/reconcile?${after}`, { method: "POST", headers: { authorization: `Bearer ${token}` } });
  const page = await answer.json();
  if (!answer.ok) {
    console.error(`${answer.status}: ${page.error?.message}`);
    process.exit(2);
  }
  for (const { id, agrees, wrong: what, entries, waiting, open, suspended, resolved, posted_usd } of page.data) {
    console.log(`${agrees ? "agrees" : "WRONG "}  ${id}  ${entries} entries, ${posted_usd} USD posted, ${waiting} waiting, ${open} open, ${suspended} unknown`);
    for (const one of resolved) console.log(`        resolved ${one.id}: ${one.charge_usd} USD, told by the provider`);
    for (const line of what) console.log(`        ${line}`);
    wrong += agrees ? 0 : 1;
  }
  more = page.has_more;
  after = `after=${encodeURIComponent(page.last_id ?? "")}`;
}
process.exitCode = wrong ? 1 : 0;

// Rows written are most of the platform's bill. These counts are a promise: another row for each call is a change of price.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { rowsOf, spender, startMetered } from "./rows.mjs";

const CALLS = 100;
const FLUSH_MS = 500;

let here;
before(async () => { here = await startMetered({ OUTBOX_FLUSH_MS: String(FLUSH_MS) }); });
after(() => here.close());

/** Beside the calls' own rows, a flush writes a checkpoint, and the next alarm is set when it ends and when more is posted. */
function wrote({ object, left, alarms, journal, flushes }, each, once = 0) {
  const told = `${object} rows, ${left} to delete, ${alarms} alarms, ${journal} rows of the journal in ${flushes} flushes`;
  assert.equal(journal, each.journal * CALLS, told);
  assert.equal(object + left, each.object * CALLS + flushes + once, told);
  assert.ok(alarms <= 2 * flushes + 2, told);
}

test("a routed call writes three rows of its account and one of the journal", async () => {
  const own = await spender(here, "rows", { calls: CALLS });
  wrote(await rowsOf(here, own, () => own.spend(200)), { object: 3, journal: 1 });
});

test("a call that every provider failed costs no more rows than one that was answered", async () => {
  const own = await spender(here, "rows-failed", { calls: CALLS });
  await here.sandbox.set(own.name, { status: 500 });
  // That the provider fails is told once: an alert, and that it was told.
  wrote(await rowsOf(here, own, () => own.spend(502)), { object: 3, journal: 1 }, 2);
});

test("a refused call writes nothing", async () => {
  const own = await spender(here, "rows-refused", { calls: CALLS, limit_usd: "0.000000001" });
  const written = await rowsOf(here, own, () => own.spend(403));
  assert.deepEqual(written, { object: 0, alarms: 0, journal: 0, flushes: 0, waiting: 0, left: 0 });
});

// The runtime is killed in the middle of its work, again and again, and started on the state that it left.
import assert from "node:assert/strict";
import { cpSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { costOf, ledger, nanos, soundChain, sum } from "./books.mjs";
import { dear, startInstance, startSandbox, until } from "./harness.mjs";
import { startMetered } from "./rows.mjs";

const CRASHES = 3;
const CALLERS = 16;
const SETTLE_S = 2;
const DAY_MS = 86_400_000;

let sandbox, state, here;
const again = async () => {
  // Long enough that calls are posted and not yet in the journal whenever the runtime dies.
  const vars = { HOLD_SETTLE_BY_S: String(SETTLE_S), OUTBOX_FLUSH_MS: "1000" };
  here = await startInstance({ state, sandboxUrl: sandbox.url, vars });
};
before(async () => {
  [sandbox, state] = [await startSandbox(), mkdtempSync(join(tmpdir(), "megarouter-crash-"))];
  await again();
});
after(async () => {
  await here?.close();
  sandbox.child.kill();
  rmSync(state, { recursive: true, force: true });
});

/**
 * An organisation whose key may have only a few more calls open than we make: calls that died must not keep their
 * places. `worker` is the one that runs now.
 */
async function spender(name, worker = () => here) {
  const own = await worker().newOrganization({ key: { concurrency: CALLERS + 2 } });
  const model = await worker().newProvider(own, name, { models: [dear] });
  // Half a second for a whole stream, so that many are open whenever the runtime dies.
  await worker().sandbox.set(name, { chunk_delay_ms: 30 });
  for (const budget of ["organization/budgets/day", `api_keys/${own.keyId}/budgets/session`]) {
    const { status } = await worker().call("PUT", `/admin/v1/${budget}`, own.adminKey, { limit_usd: "500", mode: "hard" });
    assert.equal(status, 200);
  }
  const spend = (body) => worker().ask(own.key, { model, max_tokens: 20, megarouter: { session: "s" }, ...body });
  return { ...own, name, answered: [], spend };
}

const answered = (answer) => ({ id: answer.headers.get("x-request-id"), cost_usd: costOf(answer) });

/** Calls until the runtime is gone, and notes what was answered with a cost. */
async function load(own, place, life) {
  for (let turn = place; !life.over; turn++) {
    let answer;
    try {
      answer = await own.spend({ stream: turn % 2 === 1 });
    } catch (error) {
      if (life.over) return;
      throw error;
    }
    if (answer.status === 200 && (answer.comment || answer.body?.usage)) {
      own.answered.push(answered(answer));
    } else if (answer.status === 429) {
      assert.equal(answer.body.error.code, "concurrency_exceeded", JSON.stringify(answer.body));
      await new Promise((done) => setTimeout(done, 100));
    } else if (!life.over) {
      assert.fail(`answered ${answer.status}: ${answer.text ?? JSON.stringify(answer.body)}`);
    }
  }
}

/** Kills the runtime once each of them has got enough answers in this life of it, and then at another moment each time. */
async function crashUnderLoad(owners, round) {
  const life = { over: false };
  const goal = owners.map(({ answered }) => answered.length + 2 * CALLERS);
  const callers = Promise.all(owners.flatMap((own) => Array.from({ length: CALLERS }, (_, place) => load(own, place, life))));
  const enough = until("every organisation has its answers", () => owners.every(({ answered }, place) => answered.length >= goal[place]), { ms: 30_000 });
  await Promise.race([enough, callers]); // callers end only by failing
  await new Promise((done) => setTimeout(done, 130 * round));
  life.over = true;
  await here.crash();
  await callers;
}

/** The object's own database of each organisation, from a copy of the files it left: whoever opens them changes them. */
async function objects() {
  const { DatabaseSync } = await import("node:sqlite");
  const copy = mkdtempSync(join(tmpdir(), "megarouter-objects-"));
  cpSync(join(state, "v3/do/megarouter-AccountObject"), copy, { recursive: true });
  const found = {};
  for (const name of readdirSync(copy).filter((name) => /^[0-9a-f]{64}\.sqlite$/.test(name))) {
    const database = new DatabaseSync(join(copy, name));
    const records = database.prepare("SELECT kind, id, body FROM record").all();
    const read = (wanted) => JSON.parse(records.find(({ kind }) => kind === wanted)?.body ?? "null");
    const checkpoint = read("checkpoint");
    // Others only tell for a while that they ended.
    const isOpen = ({ posted }) => !posted || posted.entry.seq > (checkpoint?.journaled ?? 0);
    const bookings = database.prepare("SELECT id, body FROM booking WHERE json_type(body) = 'object'").all()
      .map(({ id, body }) => ({ id, ...JSON.parse(body) })).filter(isOpen);
    database.close();
    found[read("organization").id] = { checkpoint, session: read("session"), bookings };
  }
  rmSync(copy, { recursive: true });
  return found;
}

test("killed under load and started again, it has lost nothing and blocks nothing", async () => {
  const owners = [await spender("crash-a"), await spender("crash-b"), await spender("crash-asleep")];
  const asleep = owners[2];
  for (let round = 1; round <= CRASHES; round++) {
    await crashUnderLoad(owners, round);
    await again();
  }

  // Nobody calls one of them, so that nothing but its alarm can wake it; of the copy of a running database until()
  // believes only what can be read.
  await until("dead holds go to suspense and posted calls to the journal, by the alarm alone", async () => {
    const { bookings } = (await objects())[asleep.id];
    return bookings.every(({ suspense }) => suspense);
  }, { ms: 20_000 });
  for (const own of owners) {
    await until("calls that died have left their places", async () => {
      const answers = await Promise.all(Array.from({ length: CALLERS + 2 }, () => own.spend()));
      own.answered.push(...answers.filter(({ status }) => status === 200).map(answered));
      return answers.every(({ status }) => status === 200);
    }, { ms: 20_000 });
    own.told = await until("the journal has everything", () => booksOf(own, here), { ms: 10_000 });
  }

  await here.close();
  const kept = await objects();
  for (const own of owners) agrees(own, kept[own.id]);
});

/** What the planes tell of an account, once the journal has all that is posted. */
async function booksOf({ adminKey }, here) {
  const entries = await ledger(here.call, adminKey);
  const { body: wallet } = await here.call("GET", "/admin/v1/wallet", adminKey);
  const { body: { state: budget } } = await here.call("GET", "/admin/v1/organization/budgets/day", adminKey);
  return sum(usageOf(entries)) === -nanos(wallet.posted_usd) && { entries, wallet, budget };
}

const usageOf = (entries) => entries.filter(({ kind }) => kind === "usage").map(({ amount_usd }) => amount_usd);

/** Callers, journal and object tell of the same calls. */
function agrees({ name, answered, told: { entries, wallet, budget } }, { checkpoint, session, bookings }) {
  soundChain(entries);
  assert.deepEqual([checkpoint.seq, checkpoint.head], [entries.length, entries[0].hash], "the object goes on where the journal ends");
  assert.deepEqual([checkpoint.wallet.posted, checkpoint.wallet.credits], [wallet.posted_usd, wallet.credits_usd]);
  assert.equal(nanos(wallet.credits_usd), sum(entries.filter(({ kind }) => kind === "credit").map(({ amount_usd }) => amount_usd)));
  assert.deepEqual([budget.posted_usd, budget.held_usd], [wallet.posted_usd, wallet.held_usd]);
  assert.equal(session.posted, wallet.posted_usd, "the counter with a row of its own as well");

  const suspended = new Map(bookings.map(({ id, suspense }) => [id, suspense]));
  assert.ok(bookings.every(({ suspense }) => suspense), "nothing is held or waits for the journal");
  assert.ok(suspended.size >= CRASHES, `only ${suspended.size} calls were open when the runtime died: too few to prove anything`);
  assert.equal(sum([...suspended.values()].map(({ hold }) => hold.grant.amount)), nanos(wallet.held_usd));
  for (const { until } of suspended.values()) assert.ok(until <= Date.now() + DAY_MS, "even a suspense ends");

  const posted = new Map(entries.map(({ id, amount_usd }) => [id, amount_usd]));
  assert.equal(posted.size, entries.length, "nothing is booked twice");
  for (const id of suspended.keys()) assert.ok(!posted.has(id), `${id} is both posted and held`);
  for (const { id, cost_usd } of answered) {
    assert.ok(posted.has(id) || suspended.has(id), `${id} was answered and is lost`);
    if (posted.has(id)) assert.equal(nanos(posted.get(id)), -nanos(cost_usd));
    else assert.ok(nanos(suspended.get(id).hold.grant.amount) >= nanos(cost_usd));
  }
  const open = answered.filter(({ id }) => suspended.has(id)).length;
  console.log(`${name}: ${answered.length} answered, ${open} of them in suspense; ${entries.length} entries, ${suspended.size} in suspense`);
}

test("an object thrown out of memory under load, beside a journal whose answers get lost, loses nothing", async () => {
  const other = await startMetered({ OUTBOX_FLUSH_MS: "100", LOSE_EVERY: "2" });
  try {
    const own = await spender("evicted", () => other);
    const life = { over: false };
    const callers = Promise.all(Array.from({ length: CALLERS }, (_, place) => load(own, place, life)));
    for (let times = 1; times <= 8; times++) {
      const enough = until("answers since the last time", () => own.answered.length >= times * CALLERS, { ms: 20_000 });
      await Promise.race([enough, callers]);
      await other.worker.evictDurableObject("ACCOUNT", { name: `org:${own.id}` });
    }
    life.over = true;
    await callers;
    const { entries, wallet } = await until("the journal has everything, and nothing is held", async () => {
      const books = await booksOf(own, other);
      return books?.wallet.held_usd === "0" && books;
    }, { ms: 20_000 });
    soundChain(entries);
    assert.equal(nanos(wallet.posted_usd), sum(own.answered.map(({ cost_usd }) => cost_usd)), "what callers were told");
    assert.equal(entries.length, own.answered.length + 1);
    assert.ok(other.server.getLogs().some(({ message }) => message.includes("the journal did not take")), "an answer was lost");
  } finally {
    await other.close();
  }
});

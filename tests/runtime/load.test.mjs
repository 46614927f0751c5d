// A thousand calls at once against one dollar, on every layer that may say no.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { costOf, ledger, nanos, soundChain, sum, walletAtRest } from "./books.mjs";
import { dear, start, until } from "./harness.mjs";

const CALLS = 1000;
const CAP = nanos("1");
/** A dear token costs a tenth of a cent, so a call is held at one to five cents by its bound of tokens. */
const NANOS_PER_TOKEN = 1_000_000n;
const bound = (place) => 10 + (place * 7) % 41;

let here;
before(async () => { here = await start({ vars: { OUTBOX_FLUSH_MS: "300" } }); });
after(() => here.close());

const admin = async (own, method, path, body) => {
  const answer = await here.call(method, `/admin/v1/${path}`, own.adminKey, body);
  assert.ok(answer.status < 300, `${method} ${path}: ${answer.status} ${JSON.stringify(answer.body)}`);
  return answer.body;
};

/** A member in a group in a group, whose key spends from now on. */
async function seat(own) {
  const { outer, inner, person, key } = await here.newSeat(own, "seat");
  Object.assign(own, { key: key.secret, keyId: key.id });
  return { outer: `groups/${outer.id}`, inner: `groups/${inner.id}`, member: `members/${person.id}`, key: `api_keys/${key.id}` };
}

/**
 * The layers. `scopes` makes what the layer needs and answers which scopes get a budget of one dollar; `code` is what
 * those hear who come too late.
 */
const layers = {
  organization: { code: "organization_budget_exceeded", scopes: () => ["organization"] },
  group: { code: "group_budget_exceeded", scopes: async (own) => [(await seat(own)).outer] },
  member: { code: "member_budget_exceeded", scopes: async (own) => [(await seat(own)).member] },
  api_key: { code: "api_key_budget_exceeded", scopes: (own) => [`api_keys/${own.keyId}`] },
  session: { code: "session_budget_exceeded", window: "session", body: { megarouter: { session: "s1" } }, scopes: (own) => [`api_keys/${own.keyId}`] },
  wallet: { code: "insufficient_credits", credit_usd: "1", scopes: () => [] },
  "all at once": { code: "api_key_budget_exceeded", credit_usd: "1", scopes: async (own) => ["organization", ...Object.values(await seat(own))] },
};

for (const [name, { code, credit_usd = "1000", window = "day", body = {}, scopes: layer }] of Object.entries(layers)) {
  test(`${CALLS} calls at once spend a dollar and not a nano more: ${name}`, async () => {
    const own = await here.newOrganization({ credit_usd });
    const model = await here.newProvider(own, name.replaceAll(/\W/g, "-"), { models: [dear] });
    const scopes = await layer(own);
    for (const scope of scopes) await admin(own, "PUT", `${scope}/budgets/${window}`, { limit_usd: "1", mode: "hard" });
    // A session's state is not among those that admins read: there are too many.
    const watched = window === "session" ? [] : scopes;
    const states = () => Promise.all(watched.map(async (scope) => (await admin(own, "GET", `${scope}/budgets/${window}`)).state));

    const { posted, served, refused, told } = await spendAll(own, states, CALLS, (place) => ({
      model, stream: place % 2 === 1, max_tokens: bound(place), messages: [{ role: "user", content: `count to ${bound(place) - 8}` }], ...body,
    }));
    assert.ok(posted >= CAP * 95n / 100n, `only ${posted} nanos were spent`);
    for (const { answer, place } of refused) refusedRightly(answer, code, place, posted);

    const entries = await until("the ledger has every call", async () => {
      const entries = await ledger(here.call, own.adminKey);
      return entries.length === served.length + 1 && entries;
    }, { ms: 10_000 });
    soundChain(entries);
    const usage = entries.filter(({ kind }) => kind === "usage");
    assert.equal(sum(usage.map(({ amount_usd }) => amount_usd)), -posted);
    assert.deepEqual(byId(usage.map(({ id, amount_usd }) => [id, `-${amount_usd}`.replace("--", "")])),
      byId(served.map(({ answer }) => [answer.headers.get("x-request-id"), costOf(answer)])));
    console.log(`${name}: ${told}`);
  });
}

const byId = (pairs) => Object.fromEntries(pairs.sort());

test("streams whose holds grow while they run spend a dollar and not a nano more", async () => {
  const own = await here.newOrganization();
  // A slice of 4,096 tokens is 16 cents, a whole answer costs 24 and may cost 80: six begin at once, and not all may end.
  const model = await here.newProvider(own, "growing", {
    abort_stops_billing: true,
    models: [{ id: "m", input_usd_per_mtok: "0", output_usd_per_mtok: "40", max_output_tokens: 20_000 }],
  });
  await admin(own, "PUT", "organization/budgets/day", { limit_usd: "1", mode: "hard" });
  const states = async () => [(await admin(own, "GET", "organization/budgets/day")).state];
  const messages = [{ role: "user", content: "count to 6000" }];
  const { posted, served, refused, told } = await spendAll(own, states, 100, () => ({ model, stream: true, max_tokens: 20_000, messages }));
  for (const { answer: { status, body } } of refused) {
    assert.deepEqual([status, body.error.code], [403, "organization_budget_exceeded"]);
    assert.ok(posted + nanos(body.error.metadata.estimate_usd) > CAP, "the first slice would still fit");
  }
  assert.ok(served.some(({ answer }) => nanos(costOf(answer)) > nanos("0.17")), "some hold has grown");
  console.log(`growing: ${told}, ${served.filter(({ answer }) => answer.comment.budget_cut).length} cut`);
});

/** Calls at once, each until it is served or refused for good. What was spent is what the callers were told, and never above the cap. */
async function spendAll(own, states, calls, body) {
  const watching = watch(own, states);
  const runs = await Promise.all(Array.from({ length: calls }, (_, place) => persist(place, () => here.ask(own.key, body(place)))));
  const looks = await watching.end();

  const wallet = await walletAtRest(here.call, own.adminKey);
  const posted = nanos(wallet.posted_usd);
  assert.ok(posted <= CAP, `${wallet.posted_usd} were spent`);
  for (const state of await states()) assert.deepEqual([state.held_usd, state.posted_usd], ["0", wallet.posted_usd]);
  const served = runs.filter(({ answer }) => answer.status === 200);
  const refused = runs.filter(({ answer }) => answer.status !== 200);
  assert.equal(posted, sum(served.map(({ answer }) => costOf(answer))), "what the callers were told is what was posted");
  const tries = runs.reduce((all, run) => all + run.tries, 0);
  return { posted, served, refused, told: `${served.length} served for ${wallet.posted_usd}, ${looks} looks, ${tries} calls` };
}

/** Calls until it is served or refused for good: held money of others comes back, spent money does not. */
async function persist(place, spend) {
  for (let [tries, patience] = [1, Date.now() + 60_000]; ; tries++) {
    const answer = await spend();
    // A call that timed out, on a machine that stood still, leaves its hold in suspense; then the others wait in vain.
    assert.ok([200, 402, 403, 429].includes(answer.status), `${answer.status} ${JSON.stringify(answer.body)}`);
    if (answer.status !== 429) return { answer, place, tries };
    assert.equal(answer.body.error.code, "inflight_holds_exhausted", JSON.stringify(answer.body));
    assert.ok(Date.now() < patience, `what was held has come back, or was posted: ${JSON.stringify(answer.body)}`);
    const seconds = Number(answer.headers.get("retry-after"));
    assert.ok(Number.isInteger(seconds) && seconds >= 1, "says when to try again");
    // A second would be polite; the test has less time, and spreads the callers by their place.
    await new Promise((done) => setTimeout(done, 200 + place % 400));
  }
}

/** Money never comes back once it is posted, so what was refused for good must not fit in the end either. */
function refusedRightly({ status, body: { error } }, code, place, posted) {
  const { metadata } = error;
  assert.deepEqual([status, error.code], [code === "insufficient_credits" ? 402 : 403, code]);
  const estimate = BigInt(bound(place)) * NANOS_PER_TOKEN;
  assert.equal(nanos(metadata.estimate_usd), estimate);
  assert.ok(posted + estimate > CAP, `a call for ${metadata.estimate_usd} would still fit`);
  if (status === 402) return assert.ok(nanos(metadata.available_usd) < estimate);
  assert.equal(nanos(metadata.limit_usd), CAP);
  assert.ok(nanos(metadata.posted_usd) + estimate > CAP, `refused at ${JSON.stringify(metadata)}`);
  assert.ok(nanos(metadata.posted_usd) <= posted);
}

/** Looks again and again while the calls run: posted and held together are never above the cap. */
function watch(own, states) {
  let [running, looks] = [true, 0];
  const watched = (async () => {
    for (; running; looks++) {
      const [wallet, ...budgets] = [await admin(own, "GET", "wallet"), ...await states()];
      for (const { posted_usd, held_usd } of budgets) assert.ok(nanos(posted_usd) + nanos(held_usd) <= CAP);
      assert.ok(nanos(wallet.available_usd) >= 0n);
      assert.equal(nanos(wallet.available_usd), nanos(wallet.credits_usd) - nanos(wallet.posted_usd) - nanos(wallet.held_usd));
    }
  })();
  watched.catch(() => {}); // told by end()
  return { end: async () => { running = false; await watched; return looks; } };
}

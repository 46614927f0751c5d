// Many requests while providers fail at random: every one is answered whole or refused cleanly, and the books agree.
import assert from "node:assert/strict";
import { costOf, ledger, nanos, soundChain, sum } from "./books.mjs";
import { start, textOf, until } from "./harness.mjs";

/** What a provider does for a while, and how often it is chosen. */
const FAULTS = [
  [6, "well", {}],
  [2, "down", { down: true }],
  ...[429, 500, 502, 503, 529].map((status) => [1, `status ${status}`, { status }]),
  [1, "asks to wait", { status: 429, retry_after: 1, times: 2 }],
  [1, "refuses the key", { status: 401 }],
  [1, "a page", { status: 200, body: "<html>Sorry</html>" }],
  [1, "a late head", { head_delay_ms: 60_000 }],
  [3, "slow", { head_delay_ms: 430 }],
  [1, "a late first token", { first_token_delay_ms: 60_000 }],
  ...[0, 3, 9].flatMap((place) => [
    [1, "cuts", { cut_after: place }], [1, "resets", { reset_after: place }], [1, "falls silent", { stall_after: place }],
  ]),
  [1, "forgets its last word", { no_terminator: true }],
];
const PROVIDERS = [["chaos-a", "openai_chat"], ["chaos-b", "anthropic"], ["chaos-c", "openai_chat"], ["chaos-d", "anthropic"]];
const DEADLINE_MS = 8_000, SLACK_MS = 4_000;
const COUNTED = "one two three four five six seven eight nine ten eleven twelve";
const REFUSALS = new Set([429, 502, 503, 504]);

/** Numbers that can be had again: SplitMix32. */
const dice = (seed) => () => {
  seed = (seed + 0x9e3779b9) | 0;
  let z = seed ^ (seed >>> 16);
  z = Math.imul(z, 0x21f0aaad); z ^= z >>> 15;
  z = Math.imul(z, 0x735a2d97);
  return ((z ^ (z >>> 15)) >>> 0) / 2 ** 32;
};

function drawn(roll) {
  let left = roll() * FAULTS.reduce((all, [weight]) => all + weight, 0);
  return FAULTS.find(([weight]) => (left -= weight) < 0) ?? FAULTS[0];
}

/** Sends `requests` calls, `together` at a time; answers what came of them. Throws at the first that breaks a promise. */
export async function chaos({ requests, together = 16, seed = 1, show = () => {} }) {
  const here = await start({ vars: { OUTBOX_FLUSH_MS: "100" } });
  try {
    const own = await here.newOrganization();
    const models = [{ id: "m", input_usd_per_mtok: "1", output_usd_per_mtok: "2", supports: ["tools", "prefill"] }];
    for (const [name, dialect] of PROVIDERS) await here.newProvider(own, name, { dialect, models, abort_stops_billing: true });
    const targets = PROVIDERS.map(([provider]) => ({ provider, model: "m" }));
    const deadlines = { head_ms: 500, first_token_ms: 700, stall_ms: 400, total_ms: DEADLINE_MS };
    assert.equal((await here.call("PUT", "/admin/v1/routes/chaos", own.adminKey, { targets, deadlines })).status, 200);

    const roll = dice(seed), seen = { answered: 0, fallback: 0, hedge: 0, rescued: 0, refused: 0, "broken aloud": 0 }, states = {};
    let over = false;
    const weather = (async () => {
      while (!over) {
        const [name] = PROVIDERS[Math.floor(roll() * PROVIDERS.length)];
        const [, what, behaviour] = drawn(roll);
        states[name] = what;
        await here.sandbox.set(name, behaviour);
        await new Promise((done) => setTimeout(done, 40 + 160 * roll()));
      }
    })();
    const answers = [];
    const caller = async () => {
      while (answers.length < requests) {
        const answer = await one(here, own, roll);
        answers.push(answer);
        const kind = judge(answer);
        seen[kind]++;
        show({ done: answers.length, requests, seen, states });
      }
    };
    await Promise.all(Array.from({ length: together }, caller));
    over = true;
    await weather;
    return { seen, ...await books(here, own, answers) };
  } finally {
    await here.close();
  }
}

async function one(here, own, roll) {
  const [stream, native, messages] = [roll() < 0.7, roll() < 0.5, roll() < 0.3];
  const megarouter = roll() < 0.5 ? { hedge: true } : {};
  const usage = stream && native && !messages ? { stream_options: { include_usage: true } } : {};
  const body = { model: "chaos", stream, max_tokens: 200, messages: [{ role: "user", content: "count to 12" }], megarouter, ...usage };
  const began = Date.now();
  const answer = await here.ask(own.key, body, messages ? { path: "/v1/messages" } : {});
  return { ...answer, stream, messages, ms: Date.now() - began, id: answer.headers.get("x-request-id") };
}

/** What became of a request; throws if it is neither whole nor honest about it. */
function judge(answer) {
  const { status, stream, messages, ms, text } = answer;
  const told = () => `${JSON.stringify({ status, stream, messages, ms })}\n${text ?? JSON.stringify(answer.body)}`;
  assert.ok(ms < DEADLINE_MS + SLACK_MS, `it took too long: ${told()}`);
  if (status !== 200) {
    assert.ok(REFUSALS.has(status) && answer.body?.error?.message, `no clean refusal: ${told()}`);
    return "refused";
  }
  const reason = answer.headers.get("x-megarouter-reason");
  const fallback = ["fallback", "hedge"].includes(reason) ? reason : "answered";
  if (!stream) {
    const said = messages ? answer.body.content[0].text : answer.body.choices[0].message.content;
    assert.ok(isWhole(said), `not whole: ${told()}`);
    return fallback;
  }
  const ends = answer.events.filter(({ data, event }) => data === "[DONE]" || event === "message_stop").length;
  const errors = answer.events.filter(({ data }) => data?.error || data?.type === "error").length;
  assert.ok(answer.comment, `it has no last word: ${told()}`);
  assert.equal(ends + errors, 1, `it ends neither well nor with an error: ${told()}`);
  if (errors) return "broken aloud";
  const said = messages ? answer.events.map(({ data }) => data?.delta?.text ?? "").join("") : textOf(answer.events);
  assert.ok(isWhole(said), `a truncated answer passes for a whole one: ${told()}`);
  return answer.comment.rescued ? "rescued" : fallback;
}

/** The simulated answer after its mark, whoever began it and whoever ended it. */
const isWhole = (said) => said.replace(/^\[simul.*\] ?/, "") === COUNTED;

/** The books once all is at rest: nothing open, every charge what its caller was told, the chain sound. */
async function books(here, own, answers) {
  const path = `/platform/v1/reconcile?organization=${own.id}`;
  const told = await until("nothing is open and the journal has everything", async () => {
    const { body } = await here.call("POST", path, here.operatorToken);
    const [account] = body.data;
    return account.open === 0 && account.waiting === 0 && account;
  }, { ms: 40_000 });
  assert.deepEqual(told.wrong, []);
  const entries = await ledger(here.call, own.adminKey);
  soundChain(entries);
  const { body: wallet } = await here.call("GET", "/admin/v1/wallet", own.adminKey);
  const usage = entries.filter(({ kind }) => kind === "usage");
  assert.equal(sum(usage.map(({ amount_usd }) => amount_usd)), -nanos(wallet.posted_usd));
  const charged = new Map(usage.map(({ id, amount_usd }) => [id, -nanos(amount_usd)]));
  let compared = 0;
  for (const answer of answers.filter(({ status }) => status === 200)) {
    // What is told is what is booked, over all attempts: the providers stop billing with the connection, so that what each was seen
    // to use is known. What may be billed unseen is in suspense, and not told.
    const ids = [answer.id, ...[1, 2, 3, 4, 5].map((number) => `${answer.id}#${number}`)];
    const booked = ids.reduce((all, id) => all + (charged.get(id) ?? 0n), 0n);
    assert.equal(nanos(costOf(answer)), booked, answer.id);
    compared++;
  }
  return { entries: entries.length, suspended: told.suspended, compared };
}

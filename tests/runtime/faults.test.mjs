// What a caller gets when providers fail: another provider's answer, or an error that says so. Never silence.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { costOf, entryOf, nanos } from "./books.mjs";
import { start, textOf } from "./harness.mjs";

let here, own;
before(async () => {
  here = await start({ vars: { OUTBOX_FLUSH_MS: "50" } });
  own = await here.newOrganization();
});
after(() => here.close());

/** Longer than any deadline of these tests. */
const FOREVER_MS = 20_000;
/** A native relay is chosen where usage was asked for and the answer is bounded; else each frame is read. */
const ways = [["pumped", {}], ["native", { stream_options: { include_usage: true } }]];
let routes = 0;

/**
 * A route over providers nobody else uses, so that no circuit of another test is open: `behaviours` are theirs, in order.
 * Answers the alias and the providers' names.
 */
async function routeOver(behaviours, { deadlines, dialects = [], provider, ...members } = {}) {
  const alias = `route-${++routes}`;
  const names = behaviours.map((_, place) => `${alias}-${"abc"[place]}`);
  for (const [place, name] of names.entries()) {
    await here.newProvider(own, name, { dialect: dialects[place] ?? "openai_chat", ...provider });
    await here.sandbox.set(name, behaviours[place]);
  }
  const targets = names.map((name) => ({ provider: name, model: "m" }));
  const { status, body } = await here.call("PUT", `/admin/v1/routes/${alias}`, own.adminKey, { targets, deadlines, ...members });
  assert.equal(status, 200, JSON.stringify(body));
  return { alias, names };
}

const ask = (alias, body, options) => here.ask(own.key, { model: alias, max_tokens: 64, ...body }, options);

const booked = (answer) => entryOf(here.call, own.adminKey, answer.headers.get("x-request-id"), { ms: 4000 });

test("a route takes its first target while that answers", async () => {
  const { alias, names } = await routeOver([{}, {}]);
  const answer = await ask(alias);
  assert.equal(answer.headers.get("x-megarouter-provider"), names[0]);
  assert.equal(answer.headers.get("x-megarouter-reason"), "alias");
  assert.equal((await here.sandbox.seen(names[1])).calls, 0);
});

// ---- before the first byte: the next provider answers --------------------------------------------------------------

const early = [
  ["no connection, twice", { down: true }, 3],
  ["status 500, twice", { status: 500 }, 3],
  ...[401, 404, 429, 503, 529].map((status) => [`status ${status}`, { status }]),
  ["a late head", { head_delay_ms: FOREVER_MS }],
  ["a late first token", { first_token_delay_ms: FOREVER_MS }],
  ["something else than an answer", { status: 200, body: "<html>Sorry</html>" }],
  ["a connection that ends before the first event", { cut_after: 0 }],
  ["a connection reset before the first event", { reset_after: 0 }],
  ["silence before the first event", { stall_after: 0 }],
];

// Many of these wait for a deadline, so they wait together; it is long enough for the second provider on a busy machine.
describe("the next provider answers, and the caller sees nothing of the first", { concurrency: 6 }, () => {
  for (const stream of [false, true]) {
    for (const [what, behaviour, attempts = 2] of early) {
      test(`after ${what} (${stream ? "streamed" : "whole"})`, async () => {
        const { alias, names } = await routeOver([behaviour, {}], { deadlines: { head_ms: 700, first_token_ms: 900 } });
        const answer = await ask(alias, { stream });
        assert.equal(answer.status, 200, JSON.stringify(answer.body));
        const told = ["provider", "reason", "attempts"].map((word) => answer.headers.get(`x-megarouter-${word}`));
        assert.deepEqual(told, [names[1], "fallback", String(attempts)]);
        const text = stream ? textOf(answer.events) : answer.body.choices[0].message.content;
        assert.equal(text, `[simulated ${names[1]}/m] one two three four five`);
        if (stream) {
          assert.deepEqual([answer.comment.provider, answer.comment.attempts], [names[1], attempts]);
          assert.equal(answer.events.at(-1).data, "[DONE]");
        }
      });
    }
  }
});

test("an answer of broken JSON falls back", async () => {
  const { alias, names } = await routeOver([{ malformed_at: 1 }, {}]);
  assert.equal((await ask(alias)).headers.get("x-megarouter-provider"), names[1]);
});

test("a broken event of a stream is left out, and the rest goes on", async () => {
  for (const [, more] of ways) {
    const { alias, names } = await routeOver([{ malformed_at: 1 }, {}]);
    const answer = await ask(alias, { stream: true, ...more });
    assert.equal(answer.headers.get("x-megarouter-provider"), names[0]);
    assert.ok(answer.events.every(({ data }) => typeof data === "object" || data === "[DONE]"), answer.text);
    assert.equal(textOf(answer.events), `[simulated ${names[0]}/m] one two three four five`);
  }
});

test("a bad request is the caller's and does not fall back", async () => {
  const { alias, names } = await routeOver([{ status: 400 }, {}]);
  const answer = await ask(alias);
  assert.equal(answer.status, 400);
  assert.equal(answer.body.error.type, "invalid_request_error");
  assert.equal(answer.headers.get("x-megarouter-attempts"), "1");
  assert.equal((await here.sandbox.seen(names[1])).calls, 0);
});

test("a fallback may speak another dialect", async () => {
  for (const stream of [false, true]) {
    const { alias, names } = await routeOver([{ status: 500 }, {}], { dialects: ["anthropic", "openai_chat"] });
    const answer = await ask(alias, { stream }, { path: "/v1/messages" });
    assert.equal(answer.status, 200, JSON.stringify(answer.body));
    assert.equal(answer.headers.get("x-megarouter-provider"), names[1]);
  }
});

test("a route without fallback asks nobody else", async () => {
  const { alias, names } = await routeOver([{ status: 500 }, {}], { fallback: false });
  const answer = await ask(alias);
  assert.equal(answer.status, 502);
  assert.equal((await here.sandbox.seen(names[1])).calls, 0);
});

test("with every target failing the caller is told not to try again at once, and pays nothing", async () => {
  for (const stream of [false, true]) {
    const { alias } = await routeOver([{ status: 503 }, { status: 503 }]);
    const answer = await ask(alias, { stream });
    assert.deepEqual([answer.status, answer.body.error.code], [503, "upstream_overloaded"]);
    assert.equal(answer.headers.get("x-should-retry"), "false");
    assert.equal(answer.headers.get("x-megarouter-attempts"), "2");
    const { amount_usd, call } = await booked(answer);
    assert.equal(amount_usd, "0");
    assert.deepEqual(call.attempts.map(({ outcome }) => outcome), ["overloaded", "overloaded"]);
  }
});

test("a provider's refusal of our credential is never the caller's 401, nor is its text shown", async () => {
  const { alias, names } = await routeOver([{ status: 401, body: { error: { message: "key sk-secret is bad" } } }]);
  const answer = await ask(alias);
  assert.deepEqual([answer.status, answer.body.error.code], [502, "upstream_auth_failed"]);
  assert.doesNotMatch(JSON.stringify(answer.body), /sk-secret/);
  const logs = here.server.getLogs().map(({ message }) => message).join("\n");
  assert.ok(logs.includes(`${names[0]}/m: the provider refused our credential`) && !logs.includes("sk-secret"), "the operator is told");
});

// ---- a second attempt beside a slow one -----------------------------------------------------------------------------

for (const stream of [false, true]) {
  test(`whoever is sooner answers where a hedge is wished for, and the other costs its prompt (${stream ? "streamed" : "whole"})`, async () => {
    const slow = { head_delay_ms: FOREVER_MS };
    const { alias, names } = await routeOver([slow, {}], { provider: { abort_stops_billing: true }, deadlines: { first_token_ms: 1_000 }, hedge: true });
    const answer = await ask(alias, { stream });
    assert.equal(answer.status, 200, JSON.stringify(answer.body));
    const told = ["provider", "reason", "attempts"].map((word) => answer.headers.get(`x-megarouter-${word}`));
    assert.deepEqual(told, [names[1], "hedge", "2"]);
    const [entry, lost] = [await booked(answer), await entryOf(here.call, own.adminKey, `${answer.headers.get("x-request-id")}#1`, { ms: 4000 })];
    assert.deepEqual(entry.call.attempts.map(({ outcome }) => outcome), ["cancelled", "answered"]);
    assert.deepEqual([lost.call.provider, lost.call.usage.output ?? 0, nanos(lost.amount_usd) < 0n], [names[0], 0, true]);
    assert.equal(nanos(costOf(answer)), -nanos(entry.amount_usd) - nanos(lost.amount_usd));
  });
}

// ---- after the first byte: the stream says that it is not whole ----------------------------------------------------

/** A broken chat stream: what came before, one error event, the final comment, and no [DONE]. */
function saysItBroke(answer, name, code) {
  assert.equal(answer.status, 200);
  assert.match(textOf(answer.events.filter(({ data }) => data.choices)), /^\[simulated/);
  const errors = answer.events.filter(({ data }) => data.error);
  assert.equal(errors.length, 1, answer.text);
  assert.equal(errors[0].data.error.code, code, answer.text);
  assert.ok(!answer.events.some(({ data }) => data === "[DONE]"), "a broken stream is not done");
  assert.deepEqual([answer.comment?.provider, answer.comment?.attempts], [name, 1], answer.text.slice(-300));
}

for (const [way, more] of ways) {
  for (const [what, behaviour] of [["cut", { cut_after: 4 }], ["reset", { reset_after: 4 }]]) {
    test(`a ${way} stream that is ${what} ends with an error, and costs what was seen`, async () => {
      const { alias, names } = await routeOver([behaviour, {}], { rescue: "off" });
      const answer = await ask(alias, { stream: true, ...more });
      saysItBroke(answer, names[0], "upstream_truncated");
      const entry = await booked(answer);
      assert.equal(entry.amount_usd, `-${answer.comment.cost_usd}`);
      assert.ok(entry.call.estimated, "the provider told no usage");
      assert.equal((await here.sandbox.seen(names[1])).calls, 0, "nothing is sent again once bytes have gone out");
    });
  }

  test(`a ${way} stream without a terminator gets one`, async () => {
    const { alias } = await routeOver([{ no_terminator: true }]);
    const answer = await ask(alias, { stream: true, ...more });
    assert.equal(answer.events.filter(({ data }) => data === "[DONE]").length, 1);
    assert.equal(answer.events.at(-1).data, "[DONE]");
    assert.equal(answer.comment.attempts, 1);
    assert.equal(textOf(answer.events).split(" ").at(-1), "five");
  });
}

test("a pumped stream that falls silent ends with an error once its stall deadline has passed", async () => {
  const { alias, names } = await routeOver([{ stall_after: 4 }], { deadlines: { stall_ms: 200 } });
  saysItBroke(await ask(alias, { stream: true }), names[0], "upstream_stalled");
});

test("a native stream that falls silent ends with an error, by its stall deadline and by the request's", async () => {
  for (const deadlines of [{ stall_ms: 200 }, { total_ms: 700 }]) {
    const { alias, names } = await routeOver([{ stall_after: 4 }], { deadlines });
    saysItBroke(await ask(alias, { stream: true, stream_options: { include_usage: true } }), names[0], "upstream_stalled");
  }
});

/** A model that goes on with an answer that was begun. */
const prefilling = { abort_stops_billing: true, models: [{ id: "m", input_usd_per_mtok: "1", output_usd_per_mtok: "2", supports: ["tools", "prefill"] }] };
const rescued = [["is cut", { cut_after: 6 }], ["is reset", { reset_after: 6 }], ["falls silent", { stall_after: 6 }]];

for (const [way, more] of ways) {
  for (const [what, behaviour] of rescued) {
    test(`a ${way} stream that ${what} is written on by the next provider, and both are paid`, async () => {
      const { alias, names } = await routeOver([behaviour, {}], { provider: prefilling, deadlines: { stall_ms: 300 } });
      const answer = await ask(alias, { stream: true, messages: [{ role: "user", content: "count to 30" }], ...more });
      const numbers = textOf(answer.events).replace(`[simulated ${names[0]}/m] `, "").split(" ");
      assert.deepEqual([numbers.length, new Set(numbers).size, numbers[0], numbers.at(-1)], [30, 30, "one", "thirty"]);
      assert.equal(answer.events.filter(({ data }) => data === "[DONE]").length, 1);
      assert.deepEqual([answer.comment.provider, answer.comment.attempts, answer.comment.rescued], [names[1], 2, true]);
      const [whole, first] = [await booked(answer), await entryOf(here.call, own.adminKey, `${answer.headers.get("x-request-id")}#1`, { ms: 4000 })];
      assert.deepEqual([whole.call.reason, whole.call.provider, first.call.provider], ["rescue", names[1], names[0]]);
      assert.equal(nanos(answer.comment.cost_usd), -nanos(whole.amount_usd) - nanos(first.amount_usd));
    });
  }
}

test("a provider that does not take a beginning is asked anew, and its refusal is not told", async () => {
  const { alias, names } = await routeOver([{ cut_after: 6 }, { reject_prefill: true }], { provider: prefilling });
  const answer = await ask(alias, { stream: true });
  assert.ok(!answer.text.includes("prefill"), answer.text);
  assert.ok((await here.sandbox.seen(names[1])).calls >= 2);
});

test("a Messages stream that is cut is written on, in one message", async () => {
  const { alias, names } = await routeOver([{ cut_after: 6 }, {}], { provider: prefilling, dialects: ["anthropic", "openai_chat"] });
  const answer = await ask(alias, { stream: true, messages: [{ role: "user", content: "count to 30" }] }, { path: "/v1/messages" });
  const kinds = answer.events.map(({ event }) => event);
  for (const kind of ["message_start", "content_block_start", "content_block_stop", "message_stop"]) {
    assert.equal(kinds.filter((one) => one === kind).length, 1, `${kind}: ${kinds}`);
  }
  const text = answer.events.map(({ data }) => data.delta?.text ?? "").join("");
  assert.equal(text.replace(`[simulated ${names[0]}/m] `, "").split(" ").length, 30, text);
  assert.equal(answer.comment.rescued, true);
});

test("a Messages stream that is cut ends with an error event", async () => {
  for (const dialect of ["anthropic", "openai_chat"]) {
    const { alias } = await routeOver([{ cut_after: 5 }], { dialects: [dialect] });
    const answer = await ask(alias, { stream: true }, { path: "/v1/messages" });
    const last = answer.events.at(-1);
    assert.deepEqual([last.event, last.data.type, last.data.error.type], ["error", "error", "api_error"], answer.text);
    assert.ok(!answer.events.some(({ event }) => event === "message_stop"));
    assert.equal(answer.comment.attempts, 2, "nobody else is there: it was asked once more");
  }
});

test("a stream that was cut in passing is written on by the same provider where nobody else is left", async () => {
  const { alias, names } = await routeOver([{ cut_after: 6, times: 1 }], { provider: prefilling });
  const answer = await ask(alias, { stream: true, messages: [{ role: "user", content: "count to 30" }] });
  assert.equal(textOf(answer.events).replace(`[simulated ${names[0]}/m] `, "").split(" ").length, 30, answer.text);
  assert.deepEqual([answer.comment.attempts, answer.comment.rescued], [2, true]);
});

// Verified escalation: a cheap model's answer is checked, and where it fails an abler one is asked. The caller gets one answer
// and one bill with both costs in it.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { costOf, entryOf, ledger, nanos, soundChain, sum, walletAtRest } from "./books.mjs";
import { code, start, textOf } from "./harness.mjs";

let here, own;
before(async () => {
  here = await start({ vars: { OUTBOX_FLUSH_MS: "50" } });
  own = await here.newOrganization();
});
after(() => here.close());

let routes = 0;
const usage = { prompt_tokens: 100, completion_tokens: 10, total_tokens: 110 };
/** An answer word for word: 100 tokens in and 10 out, at 1 and 2 dollars per million. */
const says = (message, finish_reason = "stop") => ({ status: 200, body: {
  id: "c", object: "chat.completion", created: 1, model: "m", usage,
  choices: [{ index: 0, message: { role: "assistant", ...message }, finish_reason }],
} });
const EACH = "0.00012", BOTH = "0.00024";
const calls = (name, args) => says({ content: null, tool_calls: [{ id: "t", type: "function", function: { name, arguments: args } }] }, "tool_calls");

/** A route over providers nobody else uses: `behaviours` are theirs, in order. */
async function routeOver(behaviours, members) {
  const alias = `checked-${++routes}`;
  const names = behaviours.map((_, place) => `${alias}-${"abc"[place]}`);
  for (const [place, name] of names.entries()) {
    await here.newProvider(own, name);
    await here.sandbox.set(name, behaviours[place]);
  }
  const targets = names.map((provider) => ({ provider, model: "m" }));
  const { status, body } = await here.call("PUT", `/admin/v1/routes/${alias}`, own.adminKey, { targets, ...members });
  assert.equal(status, 200, JSON.stringify(body));
  return { alias, names, route: body };
}

const escalate = { megarouter: { escalate: true, explain: true } };
const ask = (alias, body, options) => here.ask(own.key, { model: alias, max_tokens: 64, ...escalate, ...body }, options);
const attempted = (told) => told.attempts.map(({ outcome, verdict, cost_usd }) => [outcome, verdict, cost_usd]);
const reached = (answer) => ["provider", "reason", "attempts"].map((word) => answer.headers.get(`x-megarouter-${word}`));

const city = { type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false };
const shaped = { response_format: { type: "json_schema", json_schema: { name: "place", schema: city } } };
const tools = { tools: [{ type: "function", function: { name: "weather", parameters: city } }] };
const good = JSON.stringify({ city: "Bonn" });

test("an answer that fails its check is replaced, and both are on one bill", async () => {
  for (const [check, first, second, body] of [
    ["json_schema", says({ content: "Bonn." }), says({ content: good }), shaped],
    ["json_schema", says({ content: '{"city":7}' }), says({ content: good }), shaped],
    ["json_schema", says({ content: "[]" }), says({ content: "{}" }), { response_format: { type: "json_object" } }],
    ["tool_schema", calls("weather", "{}"), calls("weather", good), tools],
    ["tool_schema", calls("forecast", good), calls("weather", good), tools],
    ["finish", says({ content: "Bon" }, "length"), says({ content: "Bonn." }), {}],
    ["finish", says({ content: "" }), says({ content: "Bonn." }), {}],
    ["refusal", says({ content: null, refusal: "No." }), says({ content: "Bonn." }), {}],
  ]) {
    const { alias, names } = await routeOver([first, second]);
    const answer = await ask(alias, body);
    assert.equal(answer.status, 200, JSON.stringify(answer.body));
    assert.deepEqual(reached(answer), [names[1], "escalation", "2"], check);
    assert.deepEqual(answer.body.choices[0].message, second.body.choices[0].message);
    assert.deepEqual(attempted(answer.body.megarouter), [["rejected", check, EACH], ["answered", "passed", EACH]]);
    assert.deepEqual([costOf(answer), answer.headers.get("x-megarouter-cost-usd")], [BOTH, BOTH]);
    const id = answer.headers.get("x-request-id");
    const [entry, other] = [await entryOf(here.call, own.adminKey, id), await entryOf(here.call, own.adminKey, `${id}#1`)];
    assert.equal(sum([entry.amount_usd, other.amount_usd]), -nanos(BOTH));
    assert.deepEqual([entry.call.reason, entry.call.provider, other.call.provider], ["escalation", names[1], names[0]]);
    assert.deepEqual(entry.call.attempts.map(({ verdict }) => verdict), [check, "passed"]);
    const receipt = await here.call("GET", `/v1/receipts/${id}`, own.key);
    assert.deepEqual(attempted(receipt.body.payload), attempted(answer.body.megarouter), "the receipt names both");
  }
  await walletAtRest(here.call, own.adminKey);
  soundChain(await ledger(here.call, own.adminKey));
});

test("an answer that passes is given at once, and nobody else is asked", async () => {
  const { alias, names } = await routeOver([{}, {}]);
  const answer = await ask(alias, {}, { headers: { "x-megarouter-escalate": "true" } });
  assert.deepEqual(reached(answer), [names[0], "alias", "1"]);
  assert.deepEqual(attempted(answer.body.megarouter).map(([outcome, verdict]) => [outcome, verdict]), [["answered", "passed"]]);
  assert.equal((await here.sandbox.seen(names[1])).calls, 0);
  const unasked = await routeOver([says({ content: "x" }, "length"), {}]);
  const plain = await ask(unasked.alias, { megarouter: {} });
  assert.deepEqual(reached(plain), [unasked.names[0], "alias", "1"], "nothing is checked where nobody asked for it");
});

test("a header is enough", async () => {
  const { alias, names } = await routeOver([says({ content: "x" }, "length"), {}]);
  const answer = await ask(alias, { megarouter: undefined }, { headers: { "x-megarouter-escalate": "true" } });
  assert.deepEqual(reached(answer), [names[1], "escalation", "2"]);
});

test("a stream is told from the answer that passed", async () => {
  for (const [path, body] of [["/v1/chat/completions", { stream_options: { include_usage: true } }], ["/v1/messages", {}], ["/v1/responses", { messages: undefined, max_tokens: undefined, input: "count to 5" }]]) {
    const { alias, names } = await routeOver([says({ content: "one" }, "length"), {}]);
    const answer = await ask(alias, { stream: true, ...body }, { path });
    assert.equal(answer.status, 200, JSON.stringify(answer.body));
    assert.deepEqual(reached(answer), [names[1], "escalation", "2"]);
    assert.ok(answer.text.includes(`[simulated ${names[1]}/m]`) && !answer.text.includes(names[0] + "/m]"), answer.text);
    const { provider, attempts, cost_usd, megarouter } = answer.comment;
    assert.deepEqual([provider, attempts, megarouter.attempts[0].verdict], [names[1], 2, "finish"]);
    assert.equal(nanos(cost_usd), sum(megarouter.attempts.map((one) => one.cost_usd)));
    if (path === "/v1/chat/completions") assert.equal(textOf(answer.events), `[simulated ${names[1]}/m] one two three four five`);
    for (const name of names) assert.ok(!(await here.sandbox.seen(name)).last_request.body.stream, "asked for in one piece");
  }
});

test("an answer in hand is given where there is no better one", async () => {
  const first = says({ content: "half" }, "length");
  for (const [behaviours, attempts] of [[[first], 1], [[first, { status: 503 }], 2], [[first, says({ content: "" })], 2]]) {
    for (const stream of [false, true]) {
      const { alias, names } = await routeOver(behaviours);
      const answer = await ask(alias, { stream });
      assert.equal(answer.status, 200, JSON.stringify(answer.body));
      assert.deepEqual(reached(answer), [names[0], "alias", String(attempts)]);
      assert.equal(stream ? textOf(answer.events) : answer.body.choices[0].message.content, "half");
      assert.deepEqual(attempted((answer.comment ?? answer.body).megarouter)[0], ["answered", "finish", EACH]);
    }
  }
});

test("what cannot be paid for is not asked for", async () => {
  const half = says({ content: "half" }, "length");
  half.body.usage = { prompt_tokens: 2000, completion_tokens: 60, total_tokens: 2060 };
  const { alias, names } = await routeOver([half, {}]);
  const answer = await ask(alias, { megarouter: { ...escalate.megarouter, max_cost_usd: "0.0013" } });
  assert.deepEqual(reached(answer), [names[0], "alias", "1"], JSON.stringify(answer.body));
  assert.equal(answer.body.choices[0].message.content, "half");
  assert.ok(nanos(costOf(answer)) <= nanos("0.0013"), costOf(answer));
  assert.equal((await here.sandbox.seen(names[1])).calls, 0);
});

test("a budget that covers one answer gets one", async () => {
  const { alias, names } = await routeOver([says({ content: "half" }, "length"), {}]);
  // What the first may cost is left, and less than that once it has been paid for.
  const { secret, id } = (await here.call("POST", "/admin/v1/api_keys", own.adminKey, { name: "poor" })).body;
  const put = await here.call("PUT", `/admin/v1/api_keys/${id}/budgets/day`, own.adminKey, { limit_usd: "0.0091", mode: "hard" });
  assert.equal(put.status, 200, JSON.stringify(put.body));
  const answer = await here.ask(secret, { model: alias, max_tokens: 4000, ...escalate });
  assert.deepEqual(reached(answer), [names[0], "alias", "1"], JSON.stringify(answer.body));
  assert.deepEqual(attempted(answer.body.megarouter), [["answered", "finish", EACH]]);
  assert.equal((await here.sandbox.seen(names[1])).calls, 0);
});

test("a route says what is checked", async () => {
  const bad = says({ content: "Bonn." }, "length");
  const checks = (...words) => ({ escalation: { checks: words } });
  for (const [members, body, expected] of [
    [checks("finish"), {}, "escalation"], [checks("refusal", "json_schema"), {}, "alias"],
    [checks("json_schema"), shaped, "escalation"], [checks("finish"), { megarouter: { escalate: false } }, "alias"],
    [checks("agreement"), {}, "escalation"],
  ]) {
    const { alias, route } = await routeOver([bad, {}], members);
    assert.deepEqual(route.escalation, members.escalation);
    const answer = await ask(alias, { megarouter: {}, ...body });
    assert.equal(answer.headers.get("x-megarouter-reason"), expected, JSON.stringify([members, answer.body]));
  }
  const { names } = await routeOver([{}]);
  for (const [escalation, word] of [
    [checks("vote").escalation, "vote"], [checks().escalation, "at least one"], [{ checks: ["finish"], max: 2 }, "max"], [{}, "checks"], [true, "escalation"],
  ]) {
    const put = await here.call("PUT", "/admin/v1/routes/bad", own.adminKey, { targets: [{ provider: names[0], model: "m" }], escalation });
    assert.equal(put.status, 400, JSON.stringify(put.body));
    assert.match(put.body.error.message, new RegExp(word));
  }
  const odd = await ask(names[0] + "/m", { megarouter: { escalate: "often" } });
  assert.deepEqual([code(odd)[0], odd.body.error.param], [400, "megarouter"]);
});

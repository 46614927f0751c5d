// What a caller gets: answers, headers, streams, models and refusals.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { start, textOf, until } from "./harness.mjs";

const openai = "openai/gpt-5-mini";
const anthropic = "anthropic/claude-haiku-4-5";
const messages = [{ role: "user", content: "count to 5" }];
const weather = {
  type: "function",
  function: {
    name: "get_weather", description: "Tells the weather",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
};

let here, own;
before(async () => {
  here = await start({ vars: { OUTBOX_FLUSH_MS: "50" } });
  own = await here.newOrganization();
});
after(() => here.close());

const ask = (body, options) => here.ask(own.key, body, options);
const messagesApi = (body) => ask({ max_tokens: 64, ...body }, { path: "/v1/messages" });
const headersOf = (answer) => Object.fromEntries([...answer.headers].filter(([name]) => name.startsWith("x-megarouter-")));

/** The headers that every answer of a deployment carries. */
function saysWhoAnswered(answer, model, { mode = "balanced", reason = "pinned" } = {}) {
  assert.equal(answer.status, 200, JSON.stringify(answer.body));
  const [provider, name] = model.split("/");
  assert.match(answer.headers.get("x-request-id"), /^req_[0-9a-z]{26}$/);
  assert.match(answer.headers.get("server-timing"), /^auth;dur=\d+, route;dur=\d+, hold;dur=\d+, upstream;dur=\d+$/);
  const { "x-megarouter-cost-usd": cost, ...rest } = headersOf(answer);
  assert.deepEqual(rest, {
    "x-megarouter-provider": provider, "x-megarouter-model": name, "x-megarouter-mode": mode,
    "x-megarouter-reason": reason, "x-megarouter-attempts": "1", "x-megarouter-simulated": "true",
  });
  return cost;
}

/** A stream's last word agrees with its headers. */
function endsWithComment(answer) {
  assert.ok(answer.text.endsWith("}\n\n"), JSON.stringify(answer.text.slice(-80)));
  const { request_id, provider, model, attempts, cost_usd, rescued } = answer.comment;
  const headers = ["x-request-id", "x-megarouter-provider", "x-megarouter-model", "x-megarouter-attempts"];
  assert.deepEqual(Object.keys(answer.comment), ["request_id", "provider", "model", "attempts", "cost_usd", "rescued"]);
  assert.deepEqual(
    [request_id, provider, model, String(attempts), rescued],
    [...headers.map((name) => answer.headers.get(name)), false],
  );
  assert.match(cost_usd, /^0\.\d{1,9}$/);
  return cost_usd;
}

test("an answer carries its cost and who gave it", async () => {
  const answer = await ask({ model: openai });
  const cost = saysWhoAnswered(answer, openai);
  assert.equal(answer.headers.get("content-type"), "application/json");
  assert.equal(answer.body.object, "chat.completion");
  assert.equal(answer.body.model, openai);
  assert.match(answer.body.choices[0].message.content, /one two three four five/);
  assert.equal(answer.body.usage.cost_usd, cost);
  assert.match(cost, /^0\.\d{1,9}$/);
});

// A stream is relayed natively if its usage was asked for and its answer is bounded; else each frame is read.
for (const [way, more] of [
  ["native", { stream_options: { include_usage: true }, max_completion_tokens: 100 }],
  ["pumped", { max_completion_tokens: 100 }],
  ["pumped with usage", { stream_options: { include_usage: true } }],
]) {
  test(`a ${way} stream costs what the whole answer costs, and says so last`, async () => {
    const whole = await ask({ model: openai, ...more, stream_options: undefined });
    const answer = await ask({ model: openai, stream: true, ...more });
    saysWhoAnswered(answer, openai);
    assert.match(answer.headers.get("content-type"), /^text\/event-stream/);
    assert.equal(textOf(answer.events), whole.body.choices[0].message.content);
    assert.equal(answer.events.at(-1).data, "[DONE]");
    assert.equal(endsWithComment(answer), whole.body.usage.cost_usd);
    const told = answer.events.filter(({ data }) => data.usage);
    assert.equal(told.length, more.stream_options ? 1 : 0, "usage shows if it was asked for, and only then");
    assert.equal(answer.events.filter(({ data }) => data.choices?.length === 0).length, told.length);
  });
}

test("a pumped stream names the model and the cost as the whole answer does", async () => {
  const whole = await ask({ model: openai });
  const answer = await ask({ model: openai, stream: true, stream_options: { include_usage: true } });
  assert.equal(answer.events.find(({ data }) => data.usage).data.usage.cost_usd, whole.body.usage.cost_usd);
  assert.deepEqual([...new Set(answer.events.filter(({ data }) => data.model).map(({ data }) => data.model))], [whole.body.model]);
});

for (const model of [openai, anthropic]) {
  test(`${model} calls a tool, whole and streamed`, async () => {
    const asked = { model, messages: [{ role: "user", content: "What is the weather in Rome?" }], tools: [weather] };
    const { body } = await ask(asked);
    const [call] = body.choices[0].message.tool_calls;
    assert.equal(body.choices[0].finish_reason, "tool_calls");
    assert.equal(call.function.name, "get_weather");
    JSON.parse(call.function.arguments);

    const stream = await ask({ ...asked, stream: true });
    const deltas = stream.events.flatMap(({ data }) => data.choices?.[0]?.delta?.tool_calls ?? []);
    assert.equal(deltas[0].function.name, "get_weather");
    assert.equal(deltas.map((delta) => delta.function.arguments ?? "").join(""), call.function.arguments);
    assert.equal(stream.events.findLast(({ data }) => data.choices?.length).data.choices[0].finish_reason, "tool_calls");
    assert.equal(endsWithComment(stream), body.usage.cost_usd);

    const second = await ask({
      ...asked,
      messages: [...asked.messages, body.choices[0].message, { role: "tool", tool_call_id: call.id, content: "18 degrees, sunny" }],
    });
    assert.equal(second.body.choices[0].finish_reason, "stop", JSON.stringify(second.body));
  });
}

test("an Anthropic model answers chat completions, whole and streamed", async () => {
  const whole = await ask({ model: anthropic });
  const cost = saysWhoAnswered(whole, anthropic);
  assert.equal(whole.body.object, "chat.completion");
  const stream = await ask({ model: anthropic, stream: true });
  saysWhoAnswered(stream, anthropic);
  assert.equal(textOf(stream.events), whole.body.choices[0].message.content);
  assert.equal(stream.events.at(-1).data, "[DONE]");
  assert.equal(endsWithComment(stream), cost);
});

for (const model of [openai, anthropic]) {
  test(`${model} answers the Messages API, whole and streamed`, async () => {
    const whole = await messagesApi({ model });
    const cost = saysWhoAnswered(whole, model);
    assert.equal(whole.headers.get("request-id"), whole.headers.get("x-request-id"));
    assert.equal(whole.body.type, "message");
    assert.equal(whole.body.usage.cost_usd, cost);
    const stream = await messagesApi({ model, stream: true });
    saysWhoAnswered(stream, model);
    const events = stream.events.map(({ event }) => event);
    assert.equal(events[0], "message_start");
    assert.equal(events.at(-1), "message_stop");
    assert.equal(stream.events.map(({ data }) => data.delta?.text ?? "").join(""), whole.body.content[0].text);
    assert.equal(endsWithComment(stream), cost);
  });
}

test("the names of models: auto, a mode, a bare model, OpenRouter's suffixes", async () => {
  // Two providers call their model openai/gpt-oss-120b, and neither is named openai.
  const names = [
    ["auto", "balanced"], ["auto:cost-first", "cost-first"], ["auto:latency-first", "latency-first"],
    ["auto:availability-first", "availability-first"], ["openai/gpt-oss-120b", "balanced"], ["openai/gpt-oss-120b:floor", "cost-first"],
    ["openai/gpt-oss-120b:nitro", "latency-first"],
  ];
  for (const [model, mode] of names) {
    const answer = await ask({ model });
    assert.equal(answer.status, 200, `${model}: ${JSON.stringify(answer.body)}`);
    assert.equal(answer.headers.get("x-megarouter-mode"), mode, model);
    assert.equal(answer.headers.get("x-megarouter-reason"), "mode", model);
    if (!model.startsWith("auto")) assert.match(answer.headers.get("x-megarouter-model"), /gpt-oss-120b$/);
  }
  const alone = await ask({ model: "gpt-5-mini" });
  assert.match(alone.headers.get("x-megarouter-provider"), /^(openai|azure)$/);
  assert.equal(alone.body.model, "gpt-5-mini");
  const wrong = await ask({ model: "auto:fastest" });
  assert.equal(wrong.status, 400);
  assert.match(wrong.body.error.message, /cost-first/);
});

test("overrides come by body or by header, and never reach the provider", async () => {
  const byBody = await ask({ model: "auto", megarouter: { mode: "cost-first", providers: { only: ["openai"] } } });
  assert.equal(byBody.headers.get("x-megarouter-mode"), "cost-first");
  assert.equal(byBody.headers.get("x-megarouter-provider"), "openai");
  const { last_request: seen } = await here.sandbox.seen("openai");
  assert.equal(seen.body.megarouter, undefined);

  const byHeader = await ask({ model: "auto" }, { headers: { "x-megarouter-mode": "latency-first" } });
  assert.equal(byHeader.headers.get("x-megarouter-mode"), "latency-first");
  const both = await ask({ model: "auto", megarouter: { mode: "cost-first" } }, { headers: { "x-megarouter-mode": "latency-first" } });
  assert.equal(both.headers.get("x-megarouter-mode"), "cost-first", "the body wins");

  const openRouters = await ask({ model: "auto", provider: { only: ["anthropic"] } });
  assert.equal(openRouters.headers.get("x-megarouter-provider"), "anthropic");

  const dear = await ask({ model: openai, megarouter: { max_cost_usd: "0.000000001" } });
  assert.ok(dear.status >= 400 && dear.status < 500, `a ceiling no call can keep: ${dear.status}`);
});

test("an explained answer says how it came about", async () => {
  const { body } = await ask({ model: "auto", megarouter: { explain: true } });
  assert.deepEqual(Object.keys(body.megarouter), [
    "mode", "reason", "task", "difficulty", "reasoning_depth", "catalog_id", "health_id", "seed", "candidates", "attempts",
  ]);
  const [first] = body.megarouter.candidates;
  assert.deepEqual(Object.keys(first), ["provider", "model", "eligible", "why", "quality", "cost_usd", "ttft_ms", "score"]);
  const { provider, model } = first;
  assert.deepEqual(body.megarouter.attempts, [{ provider, model, outcome: "answered", status: 200, cost_usd: body.usage.cost_usd }]);

  const stream = await ask({ model: "auto", stream: true, megarouter: { explain: true } });
  assert.equal(stream.comment.megarouter.attempts[0].cost_usd, stream.comment.cost_usd);
});

test("a decision alone calls nobody and books nothing", async () => {
  const other = await here.newOrganization();
  const { calls } = await here.sandbox.seen("openai");
  const { status, body } = await here.ask(other.key, { model: openai, megarouter: { explain: "only" } });
  assert.equal(status, 200);
  assert.equal(body.megarouter.candidates[0].provider, "openai");
  assert.deepEqual(body.megarouter.attempts, []);
  assert.equal((await here.sandbox.seen("openai")).calls, calls);

  // What is booked before and after shows that nothing was booked between.
  const { headers } = await here.ask(other.key, { model: openai });
  const entries = await until("the call is in the ledger", async () => {
    const { data } = (await here.call("GET", "/admin/v1/ledger/entries", other.adminKey)).body;
    return data.some(({ id }) => id === headers.get("x-request-id")) && data;
  });
  assert.deepEqual(entries.map(({ kind, seq }) => [kind, seq]), [["usage", 2], ["credit", 1]]);
});

test("the list of models is public, and a key sees what it may use", async () => {
  const all = await here.call("GET", "/v1/models");
  assert.equal(all.status, 200);
  assert.equal(all.body.object, "list");
  assert.ok(all.body.data.length > 100);
  const row = all.body.data.find(({ id }) => id === openai);
  assert.equal(row.object, "model");
  assert.deepEqual(Object.keys(row.pricing), ["prompt", "completion", "cache_read", "cache_write"]);
  for (const price of Object.values(row.pricing)) assert.match(price, /^\d+(\.\d+)?$/);
  assert.ok(row.context_length > 0 && row.max_output_tokens > 0);
  assert.equal(all.body.first_id, all.body.data[0].id);
  assert.equal(all.body.last_id, all.body.data.at(-1).id);

  const narrow = await here.newOrganization({ key: { model_allowlist: [openai, "anthropic/*"] } });
  const { data } = (await here.call("GET", "/v1/models", narrow.key)).body;
  assert.ok(data.length > 1 && data.every(({ id }) => id === openai || id.startsWith("anthropic/")));
  assert.deepEqual((await here.call("GET", `/v1/models/${openai}`)).body, row);
  assert.equal((await here.call("GET", "/v1/models/openai/gpt-4o", narrow.key)).status, 404);
  const refused = await here.ask(narrow.key, { model: "openai/gpt-4o" });
  assert.deepEqual([refused.status, refused.body.error.code], [403, "model_not_allowed"]);
});

test("a model's name may come percent-encoded, as the OpenAI libraries send it", async () => {
  const { status, body } = await here.call("GET", `/v1/models/${encodeURIComponent(openai)}`);
  assert.equal(status, 200, JSON.stringify(body));
  assert.equal(body.id, openai);
});

test("a bad request is told what is wrong with it", async () => {
  const bad = [
    [404, "model_not_found", "POST", "/v1/chat/completions", { model: "openai/nothing", messages }],
    [404, "model_not_found", "GET", "/v1/models/openai/nothing"],
    [400, "malformed_json", "POST", "/v1/chat/completions", "{"],
    [400, undefined, "POST", "/v1/chat/completions", "[]"],
    [400, undefined, "POST", "/v1/chat/completions", { model: openai }],
    [400, "invalid_parameter", "POST", "/v1/chat/completions", { model: openai, messages, megarouter: { max_cost: "1" } }],
    [400, undefined, "POST", "/v1/chat/completions", { model: openai, messages, megarouter: { mode: "fast" } }],
    [405, "method_not_allowed", "GET", "/v1/chat/completions"],
    [405, "method_not_allowed", "PUT", "/v1/models"],
    [404, "unknown_endpoint", "GET", "/v1/nothing"],
    [404, "unknown_endpoint", "POST", "/v1/v1/chat/completions", { model: openai, messages }],
  ];
  for (const [status, code, method, path, body] of bad) {
    const answer = await here.call(method, path, own.key, body);
    const what = `${method} ${path} ${JSON.stringify(body)}: ${JSON.stringify(answer.body)}`;
    assert.equal(answer.status, status, what);
    if (code) assert.equal(answer.body.error.code, code, what);
    assert.ok(answer.body.error.message.length > 20, what);
    assert.equal(answer.headers.get("x-should-retry"), "false", what);
    assert.match(answer.headers.get("x-request-id"), /^req_/, what);
  }
  const anthropicShape = await messagesApi({ model: "openai/nothing" });
  assert.equal(anthropicShape.status, 404);
  assert.equal(anthropicShape.body.type, "error");
  assert.equal(anthropicShape.body.request_id, anthropicShape.headers.get("x-request-id"));
});

// What clients of all kinds call beside chat: embeddings, legacy completions, counts, lists, and the ways they call.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { start } from "./harness.mjs";

const claude = "anthropic/claude-haiku-4-5";
const embedder = "openai/text-embedding-3-small";
const completer = "fireworks/accounts/fireworks/models/gpt-oss-20b";
const messages = [{ role: "user", content: "count to 5" }];

let here, own;
before(async () => {
  here = await start({ vars: { OUTBOX_FLUSH_MS: "50" } });
  own = await here.newOrganization();
});
after(() => here.close());

const post = (path, body, headers) => here.call("POST", path, own.key, body, headers);

for (const [format, kind] of [[undefined, "number"], ["float", "number"], ["base64", "string"]]) {
  test(`embeddings come as ${format ?? "numbers, unasked"}, counted and charged`, async () => {
    const asked = { model: embedder, input: ["hello", "you"], ...(format && { encoding_format: format }) };
    const { status, headers, body } = await post("/v1/embeddings", asked);
    assert.equal(status, 200, JSON.stringify(body));
    assert.equal(body.model, embedder);
    const vectors = body.data.map(({ embedding }) => embedding);
    assert.equal(vectors.length, 2);
    for (const vector of vectors) assert.equal(typeof (kind === "string" ? vector : vector[0]), kind);
    // $0.02 per million tokens and nothing for output.
    const nanos = Math.round(Number(body.usage.cost_usd) * 1e9);
    assert.equal(nanos, body.usage.prompt_tokens * 20);
    assert.equal(headers.get("x-megarouter-cost-usd"), body.usage.cost_usd);
  });
}

test("a host that sends numbers where base64 was asked for is put right", async () => {
  const numbers = await post("/v1/embeddings", { model: embedder, input: "hello" });
  await here.sandbox.set("openai", { times: 1, status: 200, body: { ...numbers.body, model: "text-embedding-3-small" } });
  const packed = await post("/v1/embeddings", { model: embedder, input: "hello", encoding_format: "base64" });
  await here.sandbox.set("openai", {});
  assert.equal(packed.status, 200, JSON.stringify(packed.body));
  const bytes = Buffer.from(packed.body.data[0].embedding, "base64");
  assert.equal(bytes.length, 4 * numbers.body.data[0].embedding.length);
  assert.ok(Math.abs(bytes.readFloatLE(0) - numbers.body.data[0].embedding[0]) < 1e-6);
});

test("many inputs may be longer together than one context, and are held for whole", async () => {
  const input = Array(40).fill("word ".repeat(360));
  const { status, body } = await post("/v1/embeddings", { model: embedder, input });
  assert.equal(status, 200, JSON.stringify(body));
  assert.ok(body.usage.prompt_tokens > 8_191);
  const tokens = await post("/v1/embeddings", { model: embedder, input: Array.from({ length: 3_000 }, (_, i) => i + 10_000) });
  assert.equal(tokens.status, 200, JSON.stringify(tokens.body));
  const long = await post("/v1/embeddings", { model: embedder, input: ["short", "word ".repeat(20_000)] });
  assert.deepEqual([long.status, long.body.error.code, long.body.error.param], [400, "context_length_exceeded", "input"]);
});

test("a model is refused on an endpoint it does not serve", async () => {
  for (const [path, body] of [
    ["/v1/embeddings", { model: claude, input: "x" }],
    ["/v1/chat/completions", { model: embedder, messages }],
    ["/v1/completions", { model: claude, prompt: "x" }],
  ]) {
    const { status, body: told } = await post(path, body);
    assert.equal(status, 400, path);
    assert.match(told.error.message, /not served on this endpoint/, path);
  }
});

test("legacy completions pass, whole and streamed, at the same price", async () => {
  const asked = { model: completer, prompt: "Say this is a test", max_tokens: 20 };
  const whole = await post("/v1/completions", asked);
  assert.equal(whole.status, 200, JSON.stringify(whole.body));
  assert.equal(whole.body.object, "text_completion");
  const streamed = await post("/v1/completions", { ...asked, stream: true, stream_options: { include_usage: true } });
  assert.equal(streamed.events.map(({ data }) => data.choices?.[0]?.text ?? "").join(""), whole.body.choices[0].text);
  assert.equal(streamed.events.at(-1).data, "[DONE]");
  assert.equal(streamed.comment.cost_usd, whole.body.usage.cost_usd);
  const unasked = await post("/v1/completions", { ...asked, stream: true });
  assert.ok(unasked.events.every(({ data }) => !data.usage), "usage is not told unasked");
  assert.equal(unasked.comment.cost_usd, whole.body.usage.cost_usd, "and all the same asked of the provider");
});

test("tokens of a Messages request are counted for free", async () => {
  const { status, body } = await post("/v1/messages/count_tokens", { model: claude, messages });
  assert.equal(status, 200);
  assert.ok(body.input_tokens > 0 && body.input_tokens < 50, JSON.stringify(body));
  const wallet = await here.call("GET", "/admin/v1/wallet", own.adminKey);
  assert.equal((await here.call("POST", "/v1/messages/count_tokens", undefined, { model: claude, messages })).status, 401);
  const bad = await post("/v1/messages/count_tokens", { model: claude });
  assert.deepEqual([bad.status, bad.body.type], [400, "error"]);
  assert.deepEqual((await here.call("GET", "/admin/v1/wallet", own.adminKey)).body, wallet.body);
});

test("both versions of the Messages API are served", async () => {
  const asked = { model: claude, messages, max_tokens: 50 };
  for (const version of ["2023-06-01", "2026-10-21"]) {
    const { status } = await post("/v1/messages", asked, { "anthropic-version": version });
    assert.equal(status, 200, version);
    const { last_request } = await here.sandbox.seen("anthropic");
    assert.equal(last_request.headers["anthropic-version"], version);
  }
  const sampled = await post("/v1/messages", { ...asked, temperature: 1 }, { "anthropic-version": "2026-10-21" });
  assert.deepEqual([sampled.status, sampled.body.error.type], [400, "invalid_request_error"]);
  assert.match(sampled.body.error.message, /temperature/);
  assert.equal((await post("/v1/messages", { ...asked, temperature: 1 }, { "anthropic-version": "2023-06-01" })).status, 200);
});

test("beta features reach Anthropic and no imitator", async () => {
  const asked = { messages, max_tokens: 50, context_management: { edits: [] } };
  const beta = { "anthropic-version": "2023-06-01", "anthropic-beta": "context-management-2025-06-27" };
  assert.equal((await post("/v1/messages?beta=true", { ...asked, model: claude }, beta)).status, 200);
  const first = (await here.sandbox.seen("anthropic")).last_request;
  assert.equal(first.headers["anthropic-beta"], beta["anthropic-beta"]);
  assert.deepEqual(first.body.context_management, { edits: [] });
  const imitator = await here.newProvider(own, "imitator", { dialect: "anthropic" });
  assert.equal((await post("/v1/messages", { ...asked, model: imitator }, beta)).status, 200);
  const second = (await here.sandbox.seen("imitator")).last_request;
  assert.deepEqual([second.headers["anthropic-beta"], second.body.context_management], [undefined, undefined]);
});

test("tools that a provider would run are left out, and the answer says so", async () => {
  const tool = { type: "function", function: { name: "f", parameters: { type: "object" } } };
  const asked = { model: "openai/gpt-5-mini", messages, tools: [tool, { type: "web_search" }, { type: "quite\nnew" }] };
  const { status, headers, body } = await post("/v1/chat/completions", asked);
  assert.equal(status, 200, JSON.stringify(body));
  assert.equal(headers.get("x-megarouter-dropped-tools"), "web_search,quitenew");
  assert.deepEqual((await here.sandbox.seen("openai")).last_request.body.tools, [tool]);
  const alone = await post("/v1/messages", { model: claude, messages, max_tokens: 9, tools: [{ type: "web_search_20260209", name: "web_search" }] });
  assert.equal(alone.status, 200, JSON.stringify(alone.body));
  assert.equal((await here.sandbox.seen("anthropic")).last_request.body.tools, undefined);
  const forced = await post("/v1/chat/completions", { ...asked, tools: [{ type: "web_search" }], tool_choice: "required" });
  assert.deepEqual([forced.status, forced.body.error.param], [400, "tool_choice"]);
  const members = {
    web_search_options: {}, search_parameters: { mode: "auto" }, enable_search: true, plugins: [{ id: "web" }],
  };
  for (const [name, value] of Object.entries(members)) {
    const refused = await post("/v1/chat/completions", { model: "xai/grok-4.3", messages, [name]: value });
    assert.deepEqual([refused.status, refused.body.error.param], [400, name]);
  }
  const memory = { type: "memory_20250818", name: "memory" };
  const own_tool = await post("/v1/messages", { model: claude, messages, max_tokens: 9, tools: [memory] });
  assert.deepEqual([own_tool.status, own_tool.headers.get("x-megarouter-dropped-tools")], [200, null]);
});

test("a service tier is charged at its own price, and refused where none is sold", async () => {
  const asked = { model: "openai/gpt-5-mini", messages };
  const costs = {};
  for (const service_tier of ["default", "flex", "priority"]) {
    const { status, headers } = await post("/v1/chat/completions", { ...asked, service_tier });
    assert.equal(status, 200, service_tier);
    costs[service_tier] = Number(headers.get("x-megarouter-cost-usd"));
    assert.equal((await here.sandbox.seen("openai")).last_request.body.service_tier, service_tier);
  }
  assert.ok(costs.flex < costs.default && costs.default < costs.priority, JSON.stringify(costs));
  const refused = await post("/v1/chat/completions", { ...asked, model: claude, service_tier: "flex" });
  assert.equal(refused.status, 400);
  assert.match(refused.body.error.message, /service tier/);
  assert.equal((await post("/v1/chat/completions", { ...asked, service_tier: "turbo" })).body.error.param, "service_tier");
});

test("lists of models come in the shape the client reads", async () => {
  const path = `/v1/models/${claude}`;
  const plain = (await here.call("GET", path)).body;
  assert.deepEqual([plain.object, plain.type, plain.owned_by], ["model", undefined, "anthropic"]);
  assert.ok(Number.isInteger(plain.created) && plain.created > 1_600_000_000);
  const told = (await here.call("GET", path, undefined, undefined, { "anthropic-version": "2023-06-01" })).body;
  assert.deepEqual([told.type, told.id, told.display_name], ["model", claude, "claude-haiku-4-5"]);
  assert.match(told.created_at, /^20\d\d-\d\d-\d\dT00:00:00Z$/);
  assert.ok(told.max_input_tokens > 0 && told.max_tokens > 0);
  const unknown = await here.call("GET", "/v1/models/none", undefined, undefined, { "anthropic-version": "2023-06-01" });
  assert.deepEqual([unknown.status, unknown.body.type, unknown.body.error.type], [404, "error", "not_found_error"]);
});

test("a key is taken in every way clients send one", async () => {
  const body = { model: "openai/gpt-5-mini", messages };
  for (const headers of [
    { authorization: `Bearer ${own.key}` }, { "x-api-key": own.key }, { "api-key": own.key }, { "x-goog-api-key": own.key },
  ]) assert.equal((await here.call("POST", "/v1/chat/completions", undefined, body, headers)).status, 200, Object.keys(headers)[0]);
  assert.equal((await here.call("POST", `/v1/chat/completions?key=${own.key}`, undefined, body)).status, 200, "?key=");
  const stranger = await here.call("POST", "/v1/chat/completions?key=AIzaSecret", undefined, body);
  assert.equal(stranger.status, 402);
  assert.ok(!JSON.stringify(stranger.body).includes("AIza") && !atob(stranger.headers.get("payment-required")).includes("AIza"));
});

test("a browser's page may call and read what it needs", async () => {
  const origin = "https://app.example";
  const asks = { origin, "access-control-request-method": "POST", "access-control-request-headers": "authorization,x-stainless-os" };
  const before = await here.call("OPTIONS", "/v1/chat/completions", undefined, undefined, asks);
  assert.equal(before.status, 204);
  assert.equal(before.headers.get("access-control-allow-origin"), "*");
  assert.equal(before.headers.get("access-control-allow-headers"), "authorization,x-stainless-os");
  for (const [path, body] of [["/v1/chat/completions", { model: "openai/gpt-5-mini", messages, stream: true }], ["/v1/nothing", {}]]) {
    const { headers } = await here.call("POST", path, own.key, body, { origin });
    assert.equal(headers.get("access-control-allow-origin"), "*", path);
    assert.match(headers.get("access-control-expose-headers"), /x-request-id/);
  }
  assert.equal((await here.call("GET", "/healthz")).headers.get("access-control-allow-origin"), null, "no page asked");
});

test("an unknown path is answered in the caller's shape, with a hint", async () => {
  const openai = await post("/v1/v1/embeddings", {});
  assert.deepEqual([openai.status, openai.body.error.code], [404, "unknown_endpoint"]);
  assert.match(openai.body.error.message, /appends it once more/);
  const anthropic = await post("/v1/v1/messages", {}, { "anthropic-version": "2023-06-01" });
  assert.deepEqual([anthropic.status, anthropic.body.type, anthropic.body.error.type], [404, "error", "not_found_error"]);
  assert.match((await post("/responses", {})).body.error.message, /followed by \/v1/);
});

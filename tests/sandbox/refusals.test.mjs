import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { chat, Client } from "./client.mjs";

let c;
before(async () => (c = await Client.start()));
after(() => c.close());

const user = { role: "user", content: "hi" };
const calls = { role: "assistant", content: null, tool_calls: [{ id: "call_1", type: "function", function: { name: "f", arguments: "{}" } }] };
const blocks = (role, ...content) => ({ role, content });
const toolUse = { type: "tool_use", id: "toolu_1", name: "f", input: {} };
const toolResult = { type: "tool_result", tool_use_id: "toolu_1", content: "ok" };

const REFUSED = {
  "/acme/v1/chat/completions": [
    ["{", /could not parse the JSON body/],
    [[], /could not parse/],
    [{ messages: [user] }, /model parameter/],
    [{ model: "m" }, /Missing required parameter: 'messages'/],
    [{ model: "m", messages: "hi" }, /expected an array of objects, but got a string/],
    [{ model: "m", messages: [] }, /empty array/],
    [{ model: "m", messages: [{ role: "robot", content: "hi" }] }, /Invalid value: 'robot'/],
    [{ model: "m", messages: [{ role: "user" }] }, /expected a string, got null/],
    [{ model: "m", messages: [user, { role: "tool", tool_call_id: "x", content: "1" }] }, /must be a response to a preceeding message/],
    [{ model: "m", messages: [user, calls, { role: "tool", content: "1" }] }, /tool_call_id/],
    [{ model: "m", messages: [user, calls, user] }, /did not have response messages: call_1/],
    [chat("hi", { temperature: 3 }), /'temperature'/],
    [chat("hi", { max_tokens: 0 }), /'max_tokens'/],
    [chat("hi", { max_tokens: 5, max_completion_tokens: 5 }), /at the same time/],
    [chat("hi", { stream_options: { include_usage: true } }), /only allowed when 'stream'/],
    [chat("hi", { tools: [{ type: "function", function: { name: "a b" } }] }), /does not match pattern/],
    [chat("hi", { tool_choice: "required" }), /only allowed when 'tools'/],
  ],
  "/openai/v1/chat/completions": [
    [chat("hi", { megarouter: {} }), /Unrecognized request argument supplied: megarouter/],
    [{ ...chat("hi", { max_tokens: 5 }), model: "gpt-5-mini" }, /'max_tokens' is not supported with this model/],
  ],
  "/acme/v1/messages": [
    [chat("hi"), /max_tokens: Field required/],
    [{ max_tokens: 5, messages: [user] }, /model: Field required/],
    [{ model: "m", max_tokens: 5 }, /messages: Field required/],
    [{ model: "m", max_tokens: 5, messages: [] }, /at least one message/],
    [{ model: "m", max_tokens: 5, messages: [{ role: "tool", content: "x" }] }, /'user' or 'assistant'/],
    [{ model: "m", max_tokens: 5, messages: [blocks("user", toolResult)] }, /unexpected `tool_use_id`/],
    [{ model: "m", max_tokens: 5, messages: [user, blocks("assistant", toolUse), user] }, /without `tool_result` blocks/],
    [chat("hi", { max_tokens: 5, temperature: 1.5 }), /temperature/],
    [chat("hi", { max_tokens: 500, thinking: { type: "enabled", budget_tokens: 100 } }), /budget_tokens/],
    [chat("hi", { max_tokens: 5, tools: [{ name: "f" }] }), /input_schema: Field required/],
  ],
  "/anthropic/v1/messages": [[chat("hi", { max_tokens: 5, megarouter: {} }), /megarouter: Extra inputs are not permitted/]],
  "/acme/v1/responses": [
    [{ input: "hi" }, /'model'/],
    [{ model: "m" }, /'input'/],
    [{ model: "m", input: [{ role: "robot", content: "x" }] }, /'robot'/],
    [{ model: "m", input: [{ type: "function_call_output", call_id: "x", output: "1" }] }, /No tool call found/],
    [{ model: "m", input: "hi", messages: [] }, /Unsupported parameter: 'messages'/],
  ],
  "/acme/v1beta/models/m:generateContent": [
    [{}, /contents is not specified/],
    [{ contents: [{ role: "robot", parts: [{ text: "x" }] }] }, /valid role/],
    [{ contents: [{ role: "user", parts: [] }] }, /must not be empty/],
    [{ contents: [{ role: "user", parts: [{ functionResponse: { name: "f", response: {} } }] }] }, /immediately after a function call turn/],
    [{ contents: [{ role: "user", parts: [{ text: "x" }] }], nonsense: 1 }, /Unknown name "nonsense"/],
  ],
  "/acme/model/m/converse": [[{}, /'messages'/], [{ messages: [{ role: "system", content: [{ text: "x" }] }] }, /enum value set/]],
  "/acme/v2/chat": [[{ model: "m" }, /messages/], [{ messages: [user] }, /model/]],
  "/acme/v1/embeddings": [[{ model: "m" }, /'input'/], [{ model: "m", input: [] }, /input/]],
  "/acme/v1/completions": [[{ prompt: "x" }, /model/]],
};

for (const [path, cases] of Object.entries(REFUSED)) {
  test(`${path} refuses what the real one refuses`, async () => {
    for (const [body, message] of cases) {
      const answer = await c.json(path, body);
      assert.equal(answer.status, 400, JSON.stringify(body));
      assert.match(answer.body.error?.message ?? answer.body.message, message);
      assert.equal(answer.headers["x-megarouter-simulated"], "true");
    }
  });
}

test("no credential at all is 401, in the shape of the dialect", async () => {
  const bare = { headers: { "content-type": "application/json", "anthropic-version": "2023-06-01" } };
  const shapes = {
    "/acme/v1/chat/completions": (b) => b.error.code === "invalid_api_key",
    "/acme/v1/messages": (b) => b.type === "error" && b.error.type === "authentication_error" && b.request_id,
    "/acme/v1/responses": (b) => b.error.message,
    "/acme/v1beta/models/m:generateContent": (b) => b.error.status === "UNAUTHENTICATED" && b.error.code === 401,
    "/acme/model/m/converse": (b) => b.message,
    "/acme/v2/chat": (b) => b.message && b.id,
    "/mistral/v1/chat/completions": (b) => b.detail,
    "/xai/v1/chat/completions": (b) => typeof b.error === "string" && b.code,
  };
  for (const [path, fits] of Object.entries(shapes)) {
    const answer = await c.json(path, chat("hi"), bare);
    assert.equal(answer.status, 401, path);
    assert.ok(fits(answer.body), `${path}: ${JSON.stringify(answer.body)}`);
  }
  for (const name of ["x-api-key", "api-key", "x-goog-api-key"]) {
    assert.equal((await c.json("/acme/v1/chat/completions", chat("hi"), { headers: { [name]: "any" } })).status, 200);
  }
});

test("anthropic wants its version header", async () => {
  const answer = await c.json("/acme/v1/messages", chat("hi", { max_tokens: 5 }), { headers: { "x-api-key": "k" } });
  assert.match(answer.body.error.message, /anthropic-version/);
});

test("unknown paths are 404 with an error object", async () => {
  const answer = await c.json("/acme/v1/nothing", {});
  assert.equal(answer.status, 404);
  assert.match(answer.body.error.message, /Invalid URL/);
});

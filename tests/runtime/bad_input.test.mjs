// What nobody should send: a refusal in the caller's shape that says what to change, whatever the bytes.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { start } from "./harness.mjs";

let here, own;
before(async () => {
  here = await start({ vars: { OUTBOX_FLUSH_MS: "50" } });
  own = await here.newOrganization();
});
after(() => here.close());

const user = [{ role: "user", content: "hi" }];
// A good request of each surface, and the member that holds what is said.
const surfaces = {
  "/v1/chat/completions": [{ model: "openai/gpt-5-mini", messages: user }, "messages"],
  "/v1/responses": [{ model: "openai/gpt-5-mini", input: user }, "input"],
  "/v1/messages": [{ model: "anthropic/claude-haiku-4-5", max_tokens: 50, messages: user }, "messages"],
  "/v1/embeddings": [{ model: "openai/text-embedding-3-small", input: "hi" }, "input"],
  "/v1/completions": [{ model: "fireworks/accounts/fireworks/models/gpt-oss-20b", prompt: "hi" }, "prompt"],
};

const nested = (depth) => `${"[".repeat(depth)}${"]".repeat(depth)}`;

/** Bodies as text, made of a good one: what is wrong, the text, and what the refusal must speak of. */
function* spoiled([good, said]) {
  const text = JSON.stringify(good);
  const put = (name, raw) => text.replace(/}$/, `,"${name}":${raw}}`);
  const without = ({ [said]: _, ...rest }) => JSON.stringify(rest);
  yield ["nothing", "", /JSON/];
  yield ["no JSON", "{model:1}", /JSON/];
  yield ["no object", "[]", /object/];
  yield ["cut off", text.slice(0, -4), /JSON/];
  yield ["a trailing comma", text.replace(/}$/, ",}"), /JSON/];
  yield ["bytes that are no text", Buffer.from([0x7b, 0x22, 0xff, 0xfe, 0x22, 0x3a, 0x31, 0x7d]), /UTF-8|JSON/];
  yield ["deep nesting", put("x", nested(100_000)), /recursion|deep|JSON/];
  yield ["a member twice", put("model", '"other"'), /twice/];
  yield ["no model", JSON.stringify({ ...good, model: undefined }), /model/];
  yield ["an unknown model", JSON.stringify({ ...good, model: "no/such" }), /no\/such/];
  yield ["a model of the wrong type", JSON.stringify({ ...good, model: 7 }), /`model`/];
  // Legacy completions begin where nothing is said.
  if (said !== "prompt") yield ["nothing said", without(good), new RegExp(said)];
  yield ["said in the wrong type", JSON.stringify({ ...good, [said]: 7 }), new RegExp(`\`${said}`)];
  yield ["said emptily", JSON.stringify({ ...good, [said]: [] }), new RegExp(said)];
  yield ["a lone surrogate", put("user", '"\\ud800"'), /user|JSON/];
  yield ["a number out of range", put("user", "1e999"), /user|JSON|number/];
  yield ["a router member nobody knows", put("megarouter", '{"max_cost":"1"}'), /max_cost/];
}

for (const [path, made] of Object.entries(surfaces)) {
  test(`bad bodies at ${path} are refused in words`, async () => {
    assert.equal((await here.call("POST", path, own.key, made[0])).status, 200, "the good one is good");
    for (const [what, body, speaks] of spoiled(made)) {
      const headers = { authorization: `Bearer ${own.key}`, "content-type": "application/json" };
      const answer = await here.fetch(path, { method: "POST", headers, body });
      const told = await answer.json();
      assert.ok(answer.status >= 400 && answer.status < 500, `${what}: ${answer.status} ${JSON.stringify(told)}`);
      assert.match(told.error.message, speaks, `${what}: ${JSON.stringify(told)}`);
      assert.match(answer.headers.get("x-request-id"), /^req_/);
      if (path === "/v1/messages") assert.deepEqual([told.type, typeof told.error.type], ["error", "string"], what);
      else assert.deepEqual(Object.keys(told.error).sort(), ["code", "message", "param", "type"], what);
    }
  });
}

test("a prompt of ten megabytes is read, and told that it is too long", async () => {
  const content = "word ".repeat(2_000_000);
  for (const path of ["/v1/chat/completions", "/v1/messages", "/v1/responses"]) {
    const [good, said] = surfaces[path];
    const { status, body } = await here.call("POST", path, own.key, { ...good, [said]: [{ role: "user", content }] });
    assert.equal(status, 400, path);
    assert.match(body.error.message, /longer than the context/, path);
  }
});

test("a body above the limit is 413", async () => {
  const content = "x".repeat(33 * 1024 * 1024);
  const { status, body } = await here.call("POST", "/v1/chat/completions", own.key, { model: "auto", messages: [{ role: "user", content }] });
  assert.deepEqual([status, body.error.code], [413, "body_too_large"]);
});

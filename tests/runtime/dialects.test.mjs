// Every caller's dialect with every provider's: whole and streamed, at one price, with tools, pictures and reasoning.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { start } from "./harness.mjs";

// One model of each provider's dialect, the thin variations included.
const models = {
  openai_chat: "openai/gpt-5-mini",
  openai_responses: "openai/gpt-6-astra",
  anthropic: "anthropic/claude-haiku-4-5",
  "anthropic on Vertex": "vertex-anthropic/claude-opus-4-8",
  gemini: "google/gemini-3.7-flash",
  "gemini on Vertex": "vertex/gemini-3.7-flash",
  bedrock_converse: "bedrock/us.anthropic.claude-haiku-4-5-20251001-v1:0",
  cohere_v2: "cohere/command-a-03-2025",
};
const count = "count to 5";
const counted = /one two three four five$/;
const schema = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const weather = { name: "get_weather", description: "Tells the weather" };
const picture = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

// How each caller says and reads the same things.
const callers = {
  chat: {
    path: "/v1/chat/completions",
    ask: (text) => ({ messages: [{ role: "user", content: text }] }),
    stream: { stream: true, stream_options: { include_usage: true } },
    tools: { tools: [{ type: "function", function: { ...weather, parameters: schema } }] },
    look: (text) => ({ messages: [{ role: "user", content: [
      { type: "text", text }, { type: "image_url", image_url: { url: `data:image/png;base64,${picture}` } },
    ] }] }),
    text: (body) => body.choices[0].message.content,
    call: ({ choices: [{ message }] }) => ({ id: message.tool_calls[0].id, ...message.tool_calls[0].function }),
    streamed: (events) => events.map(({ data }) => data.choices?.[0]?.delta?.content ?? "").join(""),
    streamedCall: (events) => events.flatMap(({ data }) => data.choices?.[0]?.delta?.tool_calls ?? [])
      .map(({ function: { name = "", arguments: text = "" } }) => [name, text]),
    answered: ({ choices: [{ message }] }, { id }) => ({ messages: [
      { role: "user", content: "What is the weather in Rome?" },
      // What a plain client keeps of an answer: nothing that the format does not name.
      { role: "assistant", content: message.content, tool_calls: message.tool_calls },
      { role: "tool", tool_call_id: id, content: "18 degrees" },
    ] }),
  },
  responses: {
    path: "/v1/responses",
    ask: (text) => ({ input: text }),
    stream: { stream: true },
    tools: { tools: [{ type: "function", ...weather, parameters: schema }] },
    look: (text) => ({ input: [{ role: "user", content: [
      { type: "input_text", text }, { type: "input_image", image_url: `data:image/png;base64,${picture}` },
    ] }] }),
    text: ({ output }) => output.find(({ type }) => type === "message").content[0].text,
    call: ({ output }) => {
      const { call_id: id, name, arguments: text } = output.find(({ type }) => type === "function_call");
      return { id, name, arguments: text };
    },
    streamed: (events) => events.filter(({ event }) => event === "response.output_text.delta").map(({ data }) => data.delta).join(""),
    streamedCall: (events) => events.filter(({ event }) => event === "response.output_item.done")
      .map(({ data: { item } }) => item).filter(({ type }) => type === "function_call").map((item) => [item.name, item.arguments]),
    answered: ({ output }, { id }) => ({ input: [
      { role: "user", content: "What is the weather in Rome?" }, ...output, { type: "function_call_output", call_id: id, output: "18 degrees" },
    ] }),
  },
  messages: {
    path: "/v1/messages",
    ask: (text) => ({ messages: [{ role: "user", content: text }], max_tokens: 2_000 }),
    stream: { stream: true },
    tools: { tools: [{ ...weather, input_schema: schema }] },
    look: (text) => ({ max_tokens: 2_000, messages: [{ role: "user", content: [
      { type: "text", text }, { type: "image", source: { type: "base64", media_type: "image/png", data: picture } },
    ] }] }),
    text: ({ content }) => content.findLast(({ type }) => type === "text").text,
    call: ({ content }) => {
      const { id, name, input } = content.find(({ type }) => type === "tool_use");
      return { id, name, arguments: JSON.stringify(input) };
    },
    streamed: (events) => events.filter(({ data }) => data.delta?.type === "text_delta").map(({ data }) => data.delta.text).join(""),
    streamedCall: (events) => events.flatMap(({ data }) => data.content_block?.type === "tool_use" ? [[data.content_block.name, ""]]
      : data.delta?.type === "input_json_delta" ? [["", data.delta.partial_json]] : []),
    answered: ({ content }, { id }) => ({ max_tokens: 2_000, messages: [
      { role: "user", content: "What is the weather in Rome?" }, { role: "assistant", content },
      { role: "user", content: [{ type: "tool_result", tool_use_id: id, content: "18 degrees" }] },
    ] }),
  },
};

let here, own;
before(async () => {
  here = await start({ vars: { OUTBOX_FLUSH_MS: "50" } });
  own = await here.newOrganization();
});
after(() => here.close());

const good = (answer, what) => {
  assert.equal(answer.status, 200, `${what}: ${JSON.stringify(answer.body)}`);
  return answer;
};

for (const [name, caller] of Object.entries(callers)) {
  for (const [dialect, model] of Object.entries(models)) {
    const post = async (body, what) => good(await here.call("POST", caller.path, own.key, { model, ...body }), what);

    test(`${name} to ${dialect}: an answer is one text at one price, whole and streamed`, async () => {
      const { body } = await post(caller.ask(count), "whole");
      assert.match(caller.text(body), counted);
      const streamed = await post({ ...caller.ask(count), ...caller.stream }, "streamed");
      assert.equal(caller.streamed(streamed.events), caller.text(body));
      assert.equal(streamed.comment.cost_usd, body.usage.cost_usd);
    });

    test(`${name} to ${dialect}: a tool is called, and its result goes back`, async () => {
      const asked = { ...caller.ask("What is the weather in Rome?"), ...caller.tools };
      const { body } = await post(asked, "whole");
      const call = caller.call(body);
      assert.equal(call.name, "get_weather");
      assert.equal(typeof JSON.parse(call.arguments).city, "string");
      const streamed = caller.streamedCall((await post({ ...asked, ...caller.stream }, "streamed")).events);
      assert.equal(streamed.map(([name]) => name).join(""), "get_weather");
      assert.deepEqual(JSON.parse(streamed.map(([, text]) => text).join("")), JSON.parse(call.arguments));
      const last = await post({ ...caller.tools, ...caller.answered(body, call) }, "the result");
      assert.match(caller.text(last.body), /18 degrees/);
    });

    if (dialect !== "cohere_v2") {
      test(`${name} to ${dialect}: a picture arrives`, async () => {
        assert.ok(caller.text((await post(caller.look("what is this?"), "a picture")).body));
        const provider = model.split("/")[0];
        assert.ok(JSON.stringify((await here.sandbox.seen(provider)).last_request.body).includes(picture));
      });
    }
  }
}

test("Gemini's thought signatures come back through a client that keeps nothing but ids", async () => {
  const { chat } = callers;
  const asked = { model: models.gemini, ...chat.ask("What is the weather in Rome?"), ...chat.tools };
  const { body } = await here.call("POST", chat.path, own.key, asked);
  const next = { model: models.gemini, ...chat.tools, ...chat.answered(body, chat.call(body)) };
  good(await here.call("POST", chat.path, own.key, next), "with its signature");
  const sent = JSON.stringify((await here.sandbox.seen("google")).last_request.body);
  assert.match(sent, /"thoughtSignature":"[^"]+"/);
  assert.ok(!sent.includes("__sig_"), "and not inside an id");
  // The same history goes to another maker without it.
  good(await here.call("POST", chat.path, own.key, { ...next, model: models.openai_chat }), "elsewhere");
  assert.ok(!JSON.stringify((await here.sandbox.seen("openai")).last_request.body).includes("__sig_"));
});

test("Anthropic's thinking comes back with its signature, and its absence breaks nothing", async () => {
  const { chat } = callers;
  const asked = { model: models.anthropic, reasoning_effort: "high", ...chat.ask("What is the weather in Rome?"), ...chat.tools };
  const { body } = good(await here.call("POST", chat.path, own.key, asked), "thinking");
  const [{ message }] = body.choices;
  assert.ok(message.reasoning_content && message.reasoning_details[0].signature, JSON.stringify(message));
  const plain = { ...asked, ...chat.answered(body, chat.call(body)) };
  const kept = structuredClone(plain);
  kept.messages[1].reasoning_details = message.reasoning_details;
  const sent = async (request) => {
    good(await here.call("POST", chat.path, own.key, request), "a tool's result");
    return JSON.stringify((await here.sandbox.seen("anthropic")).last_request.body.messages);
  };
  assert.ok((await sent(kept)).includes(message.reasoning_details[0].signature));
  assert.ok(!(await sent(plain)).includes('"thinking"'));
});

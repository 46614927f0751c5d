import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { chat, Client, tool, WEATHER } from "./client.mjs";
import { crc32 } from "./eventstream.mjs";

let c;
before(async () => (c = await Client.start()));
after(() => c.close());

const CHAT = "/acme/v1/chat/completions";
const MESSAGES = "/acme/v1/messages";
const RESPONSES = "/acme/v1/responses";
const geminiPath = (action) => `/acme/v1beta/models/gemini-2.5-flash:${action}`;
const contents = (text) => ({ contents: [{ role: "user", parts: [{ text }] }] });
const joined = (parts) => parts.filter((part) => part !== undefined).join("");

test("openai chat answers in one piece", async () => {
  const { status, headers, body } = await c.json(CHAT, chat("What is rust?"));
  assert.equal(status, 200);
  assert.equal(headers["x-megarouter-simulated"], "true");
  assert.match(body.choices[0].message.content, /^\[simulated acme\/m\] .*What is rust\?/);
  assert.equal(body.choices[0].finish_reason, "stop");
  assert.equal(body.usage.total_tokens, body.usage.prompt_tokens + body.usage.completion_tokens);
  assert.ok(body.usage.prompt_tokens > 0 && body.usage.completion_tokens > 0);
});

test("openai chat streams: role, words, finish, usage when asked, [DONE]", async () => {
  const whole = await c.json(CHAT, chat("What is rust?"));
  const { events, headers } = await c.events(CHAT, chat("What is rust?", { stream: true, stream_options: { include_usage: true } }));
  assert.match(headers["content-type"], /^text\/event-stream/);
  assert.equal(events.at(-1).data, "[DONE]");
  assert.deepEqual(events.at(-2).data.choices, []);
  assert.deepEqual(events.at(-2).data.usage, whole.body.usage);
  assert.equal(events.at(-3).data.choices[0].finish_reason, "stop");
  assert.deepEqual(events[0].data.choices[0].delta, { role: "assistant", content: "", refusal: null });
  assert.equal(joined(events.slice(0, -2).map((e) => e.data.choices[0].delta.content)), whole.body.choices[0].message.content);
  assert.equal(new Set(events.slice(0, -1).map((e) => e.data.id)).size, 1);

  const silent = await c.events(CHAT, chat("What is rust?", { stream: true }));
  assert.ok(silent.events.slice(0, -1).every((e) => !("usage" in e.data) && e.data.choices.length === 1));
});

test("mistral streams tell usage unasked, in the chunk that ends the answer", async () => {
  const path = "/mistral-a/v1/chat/completions";
  const whole = await c.json(path, chat("What is rust?"));
  for (const more of [{}, { stream_options: { include_usage: true } }]) {
    const { events } = await c.events(path, chat("What is rust?", { stream: true, ...more }));
    assert.equal(events.at(-1).data, "[DONE]");
    assert.equal(events.at(-2).data.choices[0].finish_reason, "stop");
    assert.deepEqual(events.at(-2).data.usage, whole.body.usage);
    assert.ok(events.slice(0, -2).every((e) => !("usage" in e.data)));
  }
});

test("limits: max tokens, stop, n", async () => {
  const short = await c.json(CHAT, chat("count to 100", { max_completion_tokens: 10 }));
  assert.equal(short.body.choices[0].finish_reason, "length");
  assert.equal(short.body.usage.completion_tokens, 10);
  const long = await c.json(CHAT, chat("count to 1234"));
  assert.equal(long.body.choices[0].message.content.split(" ").length, 2 + 1234);
  assert.ok(long.body.choices[0].message.content.endsWith("one-thousand-two-hundred-thirty-four"));
  const stopped = await c.json(CHAT, chat("count to 100", { stop: [" four"] }));
  assert.equal(stopped.body.choices[0].message.content, "[simulated acme/m] one two three");
  const three = await c.json(CHAT, chat("hello", { n: 3 }));
  assert.deepEqual(three.body.choices.map((choice) => choice.index), [0, 1, 2]);
});

test("openai chat calls tools when the prompt asks, and answers from their results", async () => {
  const asked = chat("What is the weather in Oslo?", { tools: [tool()] });
  const { body } = await c.json(CHAT, asked);
  const [call] = body.choices[0].message.tool_calls;
  assert.equal(body.choices[0].finish_reason, "tool_calls");
  assert.equal(body.choices[0].message.content, null);
  assert.deepEqual(JSON.parse(call.function.arguments), { city: "Oslo", unit: "celsius", days: 1 });

  const messages = [...asked.messages, body.choices[0].message, { role: "tool", tool_call_id: call.id, content: "4 degrees and rain" }];
  const done = await c.json(CHAT, { ...asked, messages });
  assert.match(done.body.choices[0].message.content, /4 degrees and rain/);
  assert.equal(done.body.choices[0].finish_reason, "stop");

  const { events } = await c.events(CHAT, { ...asked, stream: true });
  const deltas = events.slice(0, -1).flatMap((e) => e.data.choices[0].delta.tool_calls ?? []);
  assert.equal(deltas[0].type, "function");
  assert.ok(deltas.slice(1).every((delta) => delta.id === undefined));
  assert.equal(joined(deltas.map((delta) => delta.function.arguments)), call.function.arguments);

  const talk = await c.json(CHAT, chat("Hello", { tools: [tool("lookup_order")] }));
  assert.equal(talk.body.choices[0].message.tool_calls, undefined);
  const forced = await c.json(CHAT, chat("Hello", { tools: [tool("lookup_order")], tool_choice: "required" }));
  assert.equal(forced.body.choices[0].message.tool_calls.length, 1);
});

test("parallel calls, unless they are forbidden", async () => {
  const both = chat("The weather in both Paris and Rome, please", { tools: [tool()] });
  const { body } = await c.json(CHAT, both);
  const calls = body.choices[0].message.tool_calls;
  assert.deepEqual(calls.map((call) => JSON.parse(call.function.arguments).city), ["Paris", "Rome"]);
  assert.notEqual(calls[0].id, calls[1].id);
  const one = await c.json(CHAT, { ...both, parallel_tool_calls: false });
  assert.equal(one.body.choices[0].message.tool_calls.length, 1);
});

test("structured output fits its schema", async () => {
  const schema = {
    type: "object", required: ["name", "tags", "size"], additionalProperties: false,
    properties: { name: { type: "string", maxLength: 8 }, tags: { type: "array", items: { enum: ["a", "b"] }, minItems: 2 }, size: { $ref: "#/$defs/size" } },
    $defs: { size: { anyOf: [{ type: "null" }, { type: "number", minimum: 7 }] } },
  };
  const { body } = await c.json(CHAT, chat("an item", { response_format: { type: "json_schema", json_schema: { name: "x", schema } } }));
  const value = JSON.parse(body.choices[0].message.content);
  assert.ok(value.name.length <= 8 && value.size >= 7);
  assert.deepEqual(value.tags, ["a", "a"]);
  const loose = await c.json(CHAT, chat("JSON please", { response_format: { type: "json_object" } }));
  assert.equal(JSON.parse(loose.body.choices[0].message.content).simulated, true);
  const members = await c.json(CHAT, chat("JSON with 'setup' and 'line' keys", { response_format: { type: "json_object" } }));
  assert.match(JSON.parse(members.body.choices[0].message.content).line, /^\[simulated /);
});

test("a name that the prompt gives goes into the call", async () => {
  const customer = tool("add", { type: "object", properties: { customer_name: { type: "string" } }, required: ["customer_name"] });
  const { body } = await c.json(CHAT, chat("A customer named '你好啊集团'", { tools: [customer], tool_choice: "required" }));
  assert.equal(body.choices[0].message.tool_calls[0].function.arguments, '{"customer_name":"你好啊集团"}');
});

test("what an agent adds is not said by the user", async () => {
  const content = [{ type: "text", text: "<system-reminder>\nget_weather is there\n</system-reminder>\n" },
    { type: "text", text: "<environment_context><cwd>/tools</cwd></environment_context>" }, { type: "text", text: "count to 2" }];
  const { body } = await c.json(CHAT, chat(content, { tools: [tool()] }));
  assert.equal(body.choices[0].message.content, "[simulated acme/m] one two");
});

test("reasoning is counted, and shown where the host shows it", async () => {
  const asked = chat("Think", { reasoning_effort: "low" });
  const hidden = await c.json(CHAT, asked);
  assert.equal(hidden.body.usage.completion_tokens_details.reasoning_tokens, 24);
  assert.equal(hidden.body.choices[0].message.reasoning_content, undefined);
  const shown = await c.json("/deepseek/chat/completions", asked);
  assert.ok(shown.body.choices[0].message.reasoning_content.length > 20);
  const { events } = await c.events("/groq/openai/v1/chat/completions", { ...asked, stream: true });
  assert.ok(events.some((e) => e.data.choices?.[0].delta.reasoning));
  const { usage } = (await c.json("/xai/v1/chat/completions", asked)).body;
  assert.equal(usage.prompt_tokens + usage.completion_tokens + usage.completion_tokens_details.reasoning_tokens, usage.total_tokens);
});

test("anthropic messages, whole and streamed", async () => {
  const asked = chat("Tell me", { max_tokens: 500 });
  const { body } = await c.json(MESSAGES, asked);
  assert.equal(body.stop_reason, "end_turn");
  const { events } = await c.events(MESSAGES, { ...asked, stream: true });
  assert.deepEqual([...new Set(events.map((e) => e.event))], ["message_start", "content_block_start", "ping", "content_block_delta", "content_block_stop", "message_delta", "message_stop"]);
  assert.ok(events.every((e) => e.event === e.data.type));
  assert.equal(events[0].data.message.usage.output_tokens, 1);
  assert.deepEqual(events.at(-2).data.usage, body.usage);
  assert.equal(joined(events.map((e) => e.data.delta?.text)), body.content[0].text);
});

test("anthropic thinking and tools", async () => {
  const asked = chat("the weather in Oslo", {
    max_tokens: 4000, thinking: { type: "enabled", budget_tokens: 1024 }, tools: [{ name: "get_weather", input_schema: WEATHER }, { name: "now", input_schema: { type: "object" } }],
  });
  const { body } = await c.json(MESSAGES, asked);
  assert.deepEqual(body.content.map((block) => block.type), ["thinking", "tool_use"]);
  assert.ok(body.content[0].signature);
  assert.equal(body.stop_reason, "tool_use");
  const { events } = await c.events(MESSAGES, { ...asked, stream: true });
  const deltas = events.filter((e) => e.data.index === 1 && e.data.delta).map((e) => e.data.delta);
  assert.deepEqual(JSON.parse(joined(deltas.map((d) => d.partial_json))), body.content[1].input);
  assert.equal(events.filter((e) => e.data.delta?.type === "signature_delta").length, 1);

  const result = [{ type: "tool_result", tool_use_id: body.content[1].id, content: "sleet" }];
  const messages = [...asked.messages, { role: "assistant", content: body.content }, { role: "user", content: result }];
  const done = await c.json(MESSAGES, { ...asked, messages });
  assert.match(done.body.content.at(-1).text, /sleet/);
});

test("anthropic counts tokens", async () => {
  const { body } = await c.json(`${MESSAGES}/count_tokens`, chat("Tell me"));
  assert.ok(body.input_tokens > 0);
  const whole = await c.json(MESSAGES, chat("Tell me", { max_tokens: 9 }));
  assert.equal(body.input_tokens, whole.body.usage.input_tokens);
});

test("responses, whole and streamed", async () => {
  const asked = { model: "m", input: "Tell me", reasoning: { effort: "low", summary: "auto" } };
  const { body } = await c.json(RESPONSES, asked);
  assert.equal(body.status, "completed");
  assert.deepEqual(body.output.map((item) => item.type), ["reasoning", "message"]);
  const { events } = await c.events(RESPONSES, { ...asked, stream: true });
  assert.deepEqual(events.map((e) => e.data.sequence_number), events.map((_, i) => i));
  assert.ok(events.every((e) => e.event === e.data.type));
  const last = events.at(-1).data;
  assert.equal(last.type, "response.completed");
  assert.deepEqual(last.response.usage, body.usage);
  const closed = events.filter((e) => e.event === "response.output_item.done").map((e) => e.data.item);
  assert.deepEqual(last.response.output, closed);
  assert.equal(joined(events.filter((e) => e.event === "response.output_text.delta").map((e) => e.data.delta)), body.output[1].content[0].text);
  const cut = await c.json(RESPONSES, { model: "m", input: "count to 99", max_output_tokens: 20 });
  assert.deepEqual([cut.body.status, cut.body.incomplete_details.reason], ["incomplete", "max_output_tokens"]);
});

test("responses call functions and read their outputs", async () => {
  const asked = { model: "m", input: [{ role: "user", content: "use the tool" }], tools: [{ type: "function", name: "get_weather", parameters: WEATHER }, { type: "web_search" }] };
  const { body } = await c.json(RESPONSES, asked);
  const [item] = body.output;
  assert.equal(item.type, "function_call");
  const { events } = await c.events(RESPONSES, { ...asked, stream: true });
  assert.equal(joined(events.filter((e) => e.event === "response.function_call_arguments.delta").map((e) => e.data.delta)), item.arguments);
  const input = [...asked.input, item, { type: "function_call_output", call_id: item.call_id, output: "hail" }];
  const done = await c.json(RESPONSES, { ...asked, input });
  assert.match(done.body.output[0].content[0].text, /hail/);
});

test("gemini, whole and streamed with CRLF", async () => {
  const asked = { ...contents("Tell me"), generationConfig: { thinkingConfig: { includeThoughts: true, thinkingLevel: "low" } } };
  const { body } = await c.json(geminiPath("generateContent"), asked);
  const { usageMetadata: u } = body;
  assert.equal(u.promptTokenCount + u.candidatesTokenCount + u.thoughtsTokenCount, u.totalTokenCount);
  assert.equal(body.candidates[0].content.parts[0].thought, true);
  const streamed = await c.events(`${geminiPath("streamGenerateContent")}?alt=sse`, asked);
  assert.match(streamed.body.toString(), /\}\r\n\r\n$/);
  assert.equal(streamed.events.at(-1).data.candidates[0].finishReason, "STOP");
  assert.deepEqual(streamed.events.at(-1).data.usageMetadata, u);
  const text = (parts) => joined(parts.filter((part) => !part.thought).map((part) => part.text));
  assert.equal(text(streamed.events.flatMap((e) => e.data.candidates[0].content.parts)), text(body.candidates[0].content.parts));
  const array = await c.json(geminiPath("streamGenerateContent"), asked);
  assert.equal(array.body.length, streamed.events.length);
  const counted = await c.json(geminiPath("countTokens"), contents("Tell me"));
  assert.equal(counted.body.totalTokens, u.promptTokenCount);
});

test("gemini calls functions and wants its signatures back", async () => {
  const path = "/acme/v1beta/models/gemini-3-pro:generateContent";
  const asked = { ...contents("use the tool"), tools: [{ functionDeclarations: [{ name: "f", parameters: { type: "OBJECT", properties: { n: { type: "INTEGER" } }, required: ["n"] } }] }] };
  const { body } = await c.json(path, asked);
  const [part] = body.candidates[0].content.parts;
  assert.deepEqual(part.functionCall, { name: "f", args: { n: 1 } });
  const answer = { role: "user", parts: [{ functionResponse: { name: "f", response: { ok: "fog" } } }] };
  const follow = (call) => c.json(path, { ...asked, contents: [...asked.contents, { role: "model", parts: [call] }, answer] });
  assert.match((await follow(part)).body.candidates[0].content.parts[0].text, /fog/);
  const lost = await follow({ functionCall: part.functionCall });
  assert.equal(lost.status, 400);
  assert.match(lost.body.error.message, /thought_signature/);
});

test("cohere v2, whole and streamed", async () => {
  const { body } = await c.json("/acme/v2/chat", chat("Tell me"));
  assert.equal(body.finish_reason, "COMPLETE");
  const { events } = await c.events("/acme/v2/chat", chat("Tell me", { stream: true }));
  assert.deepEqual(events.slice(-2).map((e) => e.event ?? e.data), ["message-end", "[DONE]"]);
  assert.equal(joined(events.map((e) => e.data.delta?.message?.content?.text)), body.message.content[0].text);
  const called = await c.json("/acme/v2/chat", chat("use the tool", { tools: [tool()] }));
  assert.equal(called.body.finish_reason, "TOOL_CALL");
});

test("bedrock converse, whole and as an AWS event stream", async () => {
  const asked = { messages: [{ role: "user", content: [{ text: "Tell me" }] }] };
  const { body } = await c.json("/acme/model/us.nova%3A0/converse", asked);
  assert.match(body.output.message.content[0].text, /^\[simulated acme\/us\.nova:0\]/);
  const { body: bytes, headers } = await c.send("POST", "/acme/model/us.nova%3A0/converse-stream", asked);
  assert.equal(headers["content-type"], "application/vnd.amazon.eventstream");
  const payloads = [];
  for (let at = 0; at < bytes.length; ) {
    const [size, head] = [bytes.readUInt32BE(at), bytes.readUInt32BE(at + 4)];
    assert.equal(bytes.readUInt32BE(at + 8), crc32(bytes.subarray(at, at + 8)));
    assert.equal(bytes.readUInt32BE(at + size - 4), crc32(bytes.subarray(at, at + size - 4)));
    payloads.push(JSON.parse(bytes.subarray(at + 12 + head, at + size - 4)));
    at += size;
  }
  assert.equal(joined(payloads.map((p) => p.delta?.text)), body.output.message.content[0].text);
  assert.deepEqual(payloads.at(-1).usage, body.usage);
});

test("legacy completions, embeddings, models", async () => {
  const { body } = await c.json("/acme/v1/completions", { model: "m", prompt: "count to 3", max_tokens: 100 });
  assert.equal(body.choices[0].text, "[simulated acme/m] one two three");
  const { events } = await c.events("/acme/v1/completions", { model: "m", prompt: "count to 3", max_tokens: 100, stream: true });
  assert.equal(joined(events.slice(0, -1).map((e) => e.data.choices[0].text)), body.choices[0].text);

  const floats = await c.json("/acme/v1/embeddings", { model: "e", input: ["a", "b"], dimensions: 8 });
  const packed = await c.json("/acme/v1/embeddings", { model: "e", input: "b", dimensions: 8, encoding_format: "base64" });
  const bytes = Buffer.from(packed.body.data[0].embedding, "base64");
  assert.deepEqual(Array.from({ length: 8 }, (_, i) => bytes.readFloatLE(i * 4)), floats.body.data[1].embedding);
  assert.equal(floats.body.data.length, 2);

  const list = JSON.parse((await c.send("GET", "/acme/v1/models", undefined, { headers: { authorization: "k" } })).body);
  assert.equal(list.data[0].owned_by, "acme");
});

test("the same request gets the same answer, whatever the base URL", async () => {
  const strip = ({ body }) => ({ ...body, id: null, created: null });
  const asked = chat("Same?", { tools: [tool()], tool_choice: "required" });
  const [a, b, other] = await Promise.all([c.json(CHAT, asked), c.json(CHAT, asked), c.json("/acme/chat/completions", asked)]);
  assert.deepEqual(strip(a), strip(b));
  assert.deepEqual(strip(a), strip(other));
  assert.notEqual(a.body.id, b.body.id);
});

test("an answer begun by one provider is carried on by another", async () => {
  const { body } = await c.json("/first/v1/chat/completions", chat("count to 9"));
  const text = body.choices[0].message.content;
  for (const question of ["count to 9", "Tell me more"]) {
    const full = (await c.json("/first/v1/chat/completions", chat(question))).body.choices[0].message.content;
    const begun = full.split(" ").slice(0, 6).join(" ");
    const messages = [{ role: "user", content: question }, { role: "assistant", content: begun }];
    const rest = await c.json("/second/v1/chat/completions", { model: "m", messages });
    assert.equal(begun + rest.body.choices[0].message.content, full);
  }
  assert.match(text, /nine$/);
});

test("the provider's books know each call by its id", async () => {
  const { body } = await c.json(CHAT, chat("Tell me"));
  const found = JSON.parse((await c.send("GET", `/acme/v1/generation?id=${body.id}`)).body);
  const { prompt_tokens, completion_tokens, total_tokens } = body.usage;
  assert.deepEqual(found, { id: body.id, model: "m", usage: { prompt_tokens, completion_tokens, total_tokens }, finished: true });
  assert.equal((await c.send("GET", "/acme/v1/generation?id=none")).status, 404);
});

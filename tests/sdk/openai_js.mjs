// The OpenAI library for JavaScript.
import assert from "node:assert/strict";
import OpenAI from "openai";
import { anthropicModel, askWeather, breaksNextStream, count, counted, judge, openaiModel, run } from "./judge.mjs";

const options = { baseURL: `${run.base_url}/v1`, apiKey: run.inference_key, maxRetries: 0 };
const { completions } = new OpenAI(options).chat;
const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const tools = [{ type: "function", function: { name: "get_weather", parameters } }];
const said = (content) => [{ role: "user", content }];

async function chat(model) {
  const { choices: [choice], usage } = await completions.create({ model, messages: said(count) });
  assert.match(choice.message.content, counted);
  assert.equal(choice.finish_reason, "stop");
  assert.equal(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens);
}

async function stream(model) {
  for (const more of [{}, { stream_options: { include_usage: true }, max_completion_tokens: 100 }]) {
    let text = "", usage;
    for await (const chunk of await completions.create({ model, messages: said(count), stream: true, ...more })) {
      text += chunk.choices[0]?.delta.content ?? "";
      usage ??= chunk.usage;
    }
    assert.match(text, counted);
    assert.equal(Boolean(usage), Boolean(more.stream_options));
  }
}

async function tool(model) {
  const asked = { model, messages: said(askWeather), tools };
  const first = (await completions.create(asked)).choices[0];
  assert.equal(first.finish_reason, "tool_calls");
  const streamed = (await completions.stream(asked).finalChatCompletion()).choices[0].message.tool_calls[0];
  const [call] = first.message.tool_calls;
  assert.deepEqual([call.function.name, streamed.function.name], ["get_weather", "get_weather"]);
  assert.deepEqual(JSON.parse(call.function.arguments), JSON.parse(streamed.function.arguments));
  const messages = [...asked.messages, first.message, { role: "tool", tool_call_id: call.id, content: "18 degrees" }];
  const last = (await completions.create({ ...asked, messages })).choices[0];
  assert.equal(last.finish_reason, "stop");
  assert.ok(last.message.content);
}

async function refusal() {
  const unknown = completions.create({ model: "openai/none", messages: said(count) });
  await assert.rejects(unknown, (error) => error instanceof OpenAI.NotFoundError && error.code === "model_not_found");
  const forged = new OpenAI({ ...options, apiKey: "mr_sk_forged" }).chat.completions;
  await assert.rejects(forged.create({ model: openaiModel, messages: said(count) }), OpenAI.AuthenticationError);
}

async function broken(model) {
  await breaksNextStream(model.split("/")[0]);
  const chunks = await completions.create({ model, messages: said(count), stream: true });
  await assert.rejects(Array.fromAsync(chunks), OpenAI.APIError);
}

async function models() {
  const { models } = new OpenAI(options);
  assert.ok((await Array.fromAsync(models.list())).some(({ id }) => id === openaiModel));
  assert.equal((await models.retrieve(openaiModel)).id, openaiModel);
}

await judge("openai (JavaScript)", {
  chat: () => chat(openaiModel), stream: () => stream(openaiModel), tool: () => tool(openaiModel),
  refusal, broken: () => broken("zai/glm-4.5-air"), models,
});
await judge("openai (JavaScript), Anthropic", {
  chat: () => chat(anthropicModel), stream: () => stream(anthropicModel), tool: () => tool(anthropicModel),
});

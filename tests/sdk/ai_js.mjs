// Vercel's AI SDK, with its OpenAI provider (Responses, its default, and chat completions), its Anthropic provider and its
// provider for compatible servers.
import assert from "node:assert/strict";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import {
  defaultSettingsMiddleware, generateObject, generateText, stepCountIs, streamText, tool, wrapLanguageModel,
} from "ai";
import { z } from "zod";
import { anthropicModel, askWeather, breaksNextStream, count, counted, judge, openaiModel, run } from "./judge.mjs";

const options = { baseURL: `${run.base_url}/v1`, apiKey: run.inference_key };
const tools = {
  get_weather: tool({
    description: "Tells the weather", inputSchema: z.object({ city: z.string() }), execute: async () => "18 degrees",
  }),
};
const quiet = { maxRetries: 0, onError: () => {} };

async function chat(model) {
  const { text, finishReason, usage } = await generateText({ model, prompt: count, maxRetries: 0 });
  assert.match(text, counted);
  assert.equal(finishReason, "stop");
  assert.ok(usage.inputTokens > 0 && usage.outputTokens > 0);
}

async function stream(model) {
  const result = streamText({ model, prompt: count, maxOutputTokens: 100, ...quiet });
  assert.match((await Array.fromAsync(result.textStream)).join(""), counted);
  assert.equal(await result.finishReason, "stop");
  assert.ok((await result.usage).outputTokens > 0);
}

/** The library runs the tool and takes its result back to the model by itself. */
async function toolLoop(model) {
  const asked = { model, prompt: askWeather, tools, stopWhen: stepCountIs(3), ...quiet };
  const streamed = streamText(asked);
  await streamed.consumeStream();
  for (const { steps, text } of [await generateText(asked), { steps: await streamed.steps, text: await streamed.text }]) {
    assert.equal(steps.length, 2);
    assert.deepEqual(steps[0].toolResults.map(({ toolName, output }) => [toolName, output]), [["get_weather", "18 degrees"]]);
    assert.ok(text);
  }
}

async function object(model) {
  const schema = z.object({ city: z.string(), days: z.number() });
  const { object } = await generateObject({ model, prompt: "Which city, how many days?", schema, maxRetries: 0 });
  assert.equal(typeof object.city, "string");
  assert.equal(typeof object.days, "number");
}

async function refusal(model) {
  await assert.rejects(generateText({ model, prompt: count, maxRetries: 0 }), (error) => error.statusCode === 404);
}

async function broken(model, provider) {
  await breaksNextStream(provider);
  const parts = await Array.fromAsync(streamText({ model, prompt: count, ...quiet }).fullStream);
  assert.ok(parts.some(({ type }) => type === "error"), "an error shows among the parts");
}

/** Nothing is stored here, so that whole items have to come back in the place of references. */
const stateless = (provider) => (name) => wrapLanguageModel({
  model: provider(name),
  middleware: defaultSettingsMiddleware({ settings: { providerOptions: { openai: { store: false } } } }),
});

for (const [name, provider] of [
  ["ai, openai (Responses)", stateless(createOpenAI(options).responses)],
  ["ai, openai (chat)", createOpenAI(options).chat],
  ["ai, anthropic", createAnthropic(options)],
  ["ai, openai-compatible", createOpenAICompatible({ name: "megarouter", includeUsage: true, supportsStructuredOutputs: true, ...options })],
]) {
  const [openai, anthropic] = [provider(openaiModel), provider(anthropicModel)];
  await judge(name, {
    chat: () => chat(openai), stream: () => stream(openai), tool: () => toolLoop(openai), object: () => object(openai),
    refusal: () => refusal(provider("openai/none")), broken: () => broken(provider("zai/glm-4.5-air"), "zai"),
  });
  await judge(`${name}, Anthropic model`, {
    chat: () => chat(anthropic), stream: () => stream(anthropic), tool: () => toolLoop(anthropic),
    object: () => object(anthropic),
  });
}

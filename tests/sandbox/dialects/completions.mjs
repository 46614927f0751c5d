// POST /completions, the legacy one.
import { invalid } from "../refusal.mjs";
import { frame, SSE } from "../sse.mjs";
import { bytesOf, checkRange } from "./chat_messages.mjs";
import { openaiChat, openaiError } from "./openai_chat.mjs";

function read({ body }) {
  if (typeof body.model !== "string" || !body.model) throw invalid("you must provide a model parameter");
  checkRange(body, "temperature", 0, 2);
  checkRange(body, "n", 1, 128);
  checkRange(body, "max_tokens", 1, Infinity);
  const text = [body.prompt ?? ""].flat().filter((part) => typeof part === "string").join("\n");
  return {
    model: body.model,
    stream: body.stream === true,
    wantsUsage: body.stream_options?.include_usage === true,
    userText: text,
    echo: body.echo ? text : "",
    toolResult: null,
    prefill: "",
    tools: [],
    maxTokens: body.max_tokens ?? 16, // the real default
    stop: [body.stop ?? []].flat(),
    n: body.n ?? 1,
    format: null,
    effort: null,
    messages: 0,
    inputBytes: bytesOf(text),
  };
}

function usage({ usage: { input, output } }, call) {
  return call.usageOr({ prompt_tokens: input, completion_tokens: output, total_tokens: input + output });
}

const responseId = (call) => `cmpl-${call.id}`;

function envelope(prompt, call, choices, spent) {
  return { id: responseId(call), object: "text_completion", created: call.created, model: prompt.model, choices, ...(spent === undefined ? {} : { usage: spent }) };
}

const choiceOf = (index, text, finish_reason) => ({ text, index, logprobs: null, finish_reason });

function whole(answer, prompt, call) {
  return envelope(prompt, call, answer.choices.map((c) => choiceOf(c.index, prompt.echo + c.text, c.finish)), usage(answer, call));
}

function events(answer, prompt, call) {
  const out = [];
  const say = (choices, spent, marks) => out.push({ data: JSON.stringify(envelope(prompt, call, choices, spent)), ...marks });
  for (const choice of answer.choices) {
    for (const part of prompt.echo ? [prompt.echo, ...choice.parts] : choice.parts) say([choiceOf(choice.index, part, null)], undefined, { content: true });
    say([choiceOf(choice.index, "", choice.finish)]);
  }
  if (prompt.wantsUsage && usage(answer, call) !== undefined) say([], usage(answer, call));
  out.push({ data: "[DONE]", last: true });
  return out;
}

export const completions = {
  read, whole, events, frame, responseId,
  error: openaiError,
  streamType: () => SSE,
  headers: openaiChat.headers,
  unauthorized: openaiChat.unauthorized,
};

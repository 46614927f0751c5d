// POST /chat/completions, and the OpenAI error shape with the variants of its imitators.
import { invalid } from "../refusal.mjs";
import { frame, SSE } from "../sse.mjs";
import { bytesOf, checkMessages, checkRange, missing, readMessages } from "./chat_messages.mjs";

const ERROR_TYPE = { 401: "authentication_error", 402: "insufficient_quota", 403: "permission_error", 429: "rate_limit_error", 500: "server_error", 502: "server_error", 503: "server_error", 504: "server_error", 529: "server_error" };
const ERROR_CODE = { 401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded" };

// Hosts that show the reasoning, and the field they show it in.
const SHOWS_REASONING = [[/^(deepseek|xai|moonshot|qwen|alibaba|zai|z-ai|minimax)/, "reasoning_content"], [/^(groq|openrouter|cerebras)/, "reasoning"]];

// api.openai.com refuses what it does not know; its imitators mostly do not.
const KNOWN = new Set(("audio frequency_penalty function_call functions logit_bias logprobs max_completion_tokens max_tokens messages metadata " +
  "modalities model moderation n parallel_tool_calls prediction presence_penalty prompt_cache_key prompt_cache_options prompt_cache_retention " +
  "reasoning_effort response_format safety_identifier seed service_tier stop store stream stream_options temperature tool_choice tools " +
  "top_logprobs top_p user verbosity web_search_options").split(" "));
const REASONING_MODEL = /^(o\d|gpt-[5-9])/;

export function openaiError(status, message, detail, provider) {
  const type = detail.type ?? ERROR_TYPE[status] ?? "invalid_request_error";
  const code = detail.code ?? ERROR_CODE[status] ?? null;
  if (/^xai/.test(provider)) return { code: type.replaceAll("_", "-"), error: message };
  if (/^mistral/.test(provider)) return status === 401 ? { detail: message } : { object: "error", message, type, param: detail.param ?? null, code };
  if (/^(openrouter|perplexity)/.test(provider)) return { error: { message, code: status, type } };
  return { error: { message, type, param: detail.param ?? null, code } };
}

function check(body, provider) {
  if (typeof body.model !== "string" || !body.model) throw invalid("you must provide a model parameter");
  checkMessages(body.messages);
  checkRange(body, "temperature", 0, 2);
  checkRange(body, "top_p", 0, 1);
  checkRange(body, "frequency_penalty", -2, 2);
  checkRange(body, "presence_penalty", -2, 2);
  checkRange(body, "n", 1, 128);
  checkRange(body, "max_tokens", 1, Infinity);
  checkRange(body, "max_completion_tokens", 1, Infinity);
  if (body.max_tokens != null && body.max_completion_tokens != null) {
    throw invalid("Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.", { code: "invalid_parameter_combination" });
  }
  if (body.stream_options != null && !body.stream) {
    throw invalid("The 'stream_options' parameter is only allowed when 'stream' is enabled.", { param: "stream_options" });
  }
  checkTools(body);
  if (/^openai/.test(provider)) checkAsOpenai(body);
}

function checkTools({ tools, tool_choice }) {
  if (tools == null) {
    if (tool_choice != null && tool_choice !== "none" && tool_choice !== "auto") {
      throw invalid("Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified.", { param: "tool_choice" });
    }
    return;
  }
  if (!Array.isArray(tools)) throw invalid("Invalid type for 'tools': expected an array of objects.", { param: "tools", code: "invalid_type" });
  tools.forEach((tool, i) => {
    const name = tool?.function?.name ?? tool?.custom?.name;
    if (!tool?.type) throw missing(`tools[${i}].type`);
    if (!name) throw missing(`tools[${i}].${tool.type}.name`);
    if (!/^[a-zA-Z0-9_-]{1,64}$/.test(name)) {
      throw invalid(`Invalid 'tools[${i}].function.name': string does not match pattern. Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'.`, { param: `tools[${i}].function.name`, code: "invalid_value" });
    }
  });
  const forced = tool_choice?.function?.name;
  if (forced && !tools.some((tool) => tool.function?.name === forced)) {
    throw invalid(`Invalid value: 'tool_choice.function.name' names '${forced}', which is not in 'tools'.`, { param: "tool_choice" });
  }
}

function checkAsOpenai(body) {
  for (const name of Object.keys(body)) {
    if (!KNOWN.has(name)) throw invalid(`Unrecognized request argument supplied: ${name}`);
  }
  if (REASONING_MODEL.test(body.model) && body.max_tokens != null) {
    throw invalid("Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.", { param: "max_tokens", code: "unsupported_parameter" });
  }
}

export function readTools(tools = []) {
  return (tools ?? []).filter((tool) => tool.function || tool.custom).map((tool) => tool.function
    ? { name: tool.function.name, schema: tool.function.parameters }
    : { name: tool.custom.name, freeform: true });
}

function readToolChoice(choice) {
  if (choice == null) return "auto";
  if (typeof choice === "string") return choice === "any" ? "required" : choice;
  if (choice.type === "allowed_tools") return choice.allowed_tools?.mode ?? "auto";
  const name = choice.function?.name ?? choice.custom?.name;
  return name ? { name } : "auto";
}

function readFormat(format) {
  if (format?.type === "json_schema") return { schema: format.json_schema?.schema ?? {} };
  return format?.type === "json_object" ? {} : null;
}

function read(call) {
  const { body } = call;
  check(body, call.provider);
  const prompt = readMessages(body.messages);
  const functions = body.functions?.map((f) => ({ type: "function", function: f }));
  const tools = body.tools ?? functions;
  return {
    ...prompt,
    model: body.model,
    stream: body.stream === true,
    wantsUsage: body.stream_options?.include_usage === true,
    tools: readTools(tools),
    toolChoice: readToolChoice(body.tool_choice),
    parallel: body.parallel_tool_calls ?? true,
    maxTokens: body.max_completion_tokens ?? body.max_tokens ?? null,
    stop: [body.stop ?? []].flat(),
    n: body.n ?? 1,
    format: readFormat(body.response_format),
    effort: body.reasoning_effort ?? body.reasoning?.effort ?? (body.thinking?.type === "enabled" || body.reasoning?.enabled ? "medium" : null),
    inputBytes: prompt.inputBytes + (tools ? bytesOf(JSON.stringify(tools)) : 0),
  };
}

function usage(answer, call) {
  const { input, output, reasoning } = answer.usage;
  // xAI leaves reasoning out of completion_tokens, and only there.
  const completion = /^xai/.test(call.provider) ? output - reasoning : output;
  return call.usageOr({
    prompt_tokens: input,
    completion_tokens: completion,
    total_tokens: input + output,
    prompt_tokens_details: { cached_tokens: 0, audio_tokens: 0 },
    completion_tokens_details: { reasoning_tokens: reasoning, audio_tokens: 0, accepted_prediction_tokens: 0, rejected_prediction_tokens: 0 },
  });
}

// Mistral insists on nine letters and digits.
const toolId = (call, id) => (/^mistral/.test(call.provider) ? id.slice(0, 9) : `call_${id}`);
const responseId = (call) => `chatcmpl-${call.id}`;
const reasoningField = (call) => SHOWS_REASONING.find(([names]) => names.test(call.provider))?.[1];

function toolCall(call, { id, name, arguments: args, freeform }) {
  return freeform
    ? { id: toolId(call, id), type: "custom", custom: { name, input: args } }
    : { id: toolId(call, id), type: "function", function: { name, arguments: args } };
}

function whole(answer, prompt, call) {
  const field = reasoningField(call);
  const out = {
    id: responseId(call),
    object: "chat.completion",
    created: call.created,
    model: prompt.model,
    choices: answer.choices.map((choice) => ({
      index: choice.index,
      message: {
        role: "assistant",
        content: choice.calls.length ? null : choice.text,
        refusal: null,
        annotations: [],
        ...(field && choice.reasoning ? { [field]: choice.reasoning } : {}),
        ...(choice.calls.length ? { tool_calls: choice.calls.map((c) => toolCall(call, c)) } : {}),
      },
      logprobs: null,
      finish_reason: choice.finish,
    })),
    usage: usage(answer, call),
    service_tier: "default",
    system_fingerprint: "fp_simulated",
  };
  if (out.usage === undefined) delete out.usage;
  return out;
}

function events(answer, prompt, call) {
  const out = [];
  // Mistral tells usage unasked, in the chunk that ends the last choice.
  const unasked = /^mistral/.test(call.provider);
  const spent = prompt.wantsUsage || unasked ? usage(answer, call) : undefined;
  // Every chunk says `usage: null` when a usage chunk is to come.
  const tail = !unasked && spent !== undefined ? ',"usage":null}' : "}";
  const start = JSON.stringify({
    id: responseId(call), object: "chat.completion.chunk", created: call.created, model: prompt.model,
    service_tier: "default", system_fingerprint: "fp_simulated",
  }).slice(0, -1);
  const chunk = (index, delta, finish, content) => out.push({
    data: `${start},"choices":[{"index":${index},"delta":${JSON.stringify(delta)},"logprobs":null,"finish_reason":${finish ? `"${finish}"` : "null"}}]${tail}`,
    content,
  });
  for (const choice of answer.choices) streamChoice(choice, chunk, call);
  if (unasked && spent !== undefined) out.at(-1).data = `${out.at(-1).data.slice(0, -1)},"usage":${JSON.stringify(spent)}}`;
  else if (spent !== undefined) out.push({ data: `${start},"choices":[],"usage":${JSON.stringify(spent)}}` });
  out.push({ data: "[DONE]", last: true });
  return out;
}

function streamChoice(choice, chunk, call) {
  const { index, calls } = choice;
  const field = reasoningField(call);
  chunk(index, { role: "assistant", content: calls.length ? null : "", refusal: null });
  if (field) for (const part of choice.reasoning.match(/\s*\S+/g) ?? []) chunk(index, { [field]: part }, null, true);
  for (const part of choice.parts) chunk(index, { content: part }, null, true);
  calls.forEach((c, at) => {
    const { id, type, ...called } = toolCall(call, c);
    const member = c.freeform ? "input" : "arguments";
    chunk(index, { tool_calls: [{ index: at, id, type, [type]: { ...called[type], [member]: "" } }] }, null, true);
    for (const part of c.arguments.match(/[^]{1,12}/gu) ?? []) chunk(index, { tool_calls: [{ index: at, [type]: { [member]: part } }] }, null, true);
  });
  chunk(index, {}, choice.finish);
}

export const openaiChat = {
  read, whole, events, frame, responseId,
  error: openaiError,
  streamType: () => SSE,
  headers: (call) => ({ "x-request-id": `req_${call.id}`, "openai-processing-ms": "1" }),
  unauthorized: "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
};

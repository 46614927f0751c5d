// POST /responses.
import { invalid } from "../refusal.mjs";
import { frame, SSE } from "../sse.mjs";
import { bytesOf, checkRange, contentText, kind, messageBytes, missing } from "./chat_messages.mjs";
import { openaiChat, openaiError } from "./openai_chat.mjs";

const ROLES = ["assistant", "system", "developer", "user", "critic", "discriminator"];
const OUTPUT = /^(function_call|custom_tool_call)_output$/;

function check(body) {
  if (typeof body.model !== "string" || !body.model) throw missing("model");
  const { input } = body;
  if (input === undefined && !body.prompt && !body.previous_response_id) throw missing("input");
  if (input !== undefined && typeof input !== "string" && !Array.isArray(input)) {
    throw invalid(`Invalid type for 'input': expected one of an array of input items or a string, but got ${kind(input)} instead.`, { param: "input", code: "invalid_type" });
  }
  checkRange(body, "temperature", 0, 2);
  checkRange(body, "top_p", 0, 1);
  checkRange(body, "max_output_tokens", 16, Infinity);
  if (body.messages !== undefined) {
    throw invalid("Unsupported parameter: 'messages'. In the Responses API, this parameter has moved to 'input'. Try again with the new parameter.", { param: "messages", code: "unsupported_parameter" });
  }
  if (Array.isArray(input)) checkItems(input, body);
  (body.tools ?? []).forEach((tool, i) => {
    if (!tool?.type) throw missing(`tools[${i}].type`);
    if (tool.type === "function" && !tool.name) throw missing(`tools[${i}].name`);
  });
}

function checkItems(items, { previous_response_id, conversation }) {
  const called = new Set();
  items.forEach((item, i) => {
    const type = item?.type ?? (item?.role ? "message" : undefined);
    if (type === undefined) throw invalid(`Missing required parameter: 'input[${i}].type'.`, { param: `input[${i}].type`, code: "missing_required_parameter" });
    if (type === "message" && !ROLES.includes(item.role)) {
      throw invalid(`Invalid value: '${item.role}'. Supported values are: 'assistant', 'system', 'developer', and 'user'.`, { param: `input[${i}].role`, code: "invalid_value" });
    }
    if (/^(function|custom_tool)_call$/.test(type)) called.add(item.call_id);
    if (OUTPUT.test(type) && !called.has(item.call_id) && !previous_response_id && !conversation) {
      throw invalid(`No tool call found for function call output with call_id ${item.call_id}.`, { param: "input" });
    }
  });
}

function toolsOf(body) {
  const flat = (body.tools ?? []).flatMap((tool) => (tool.type === "namespace" ? tool.tools ?? [] : [tool]));
  return flat.filter((tool) => tool.type === "function" || tool.type === "custom")
    .map((tool) => ({ name: tool.name, schema: tool.parameters, freeform: tool.type === "custom" }));
}

function read(call) {
  const { body } = call;
  check(body);
  const items = typeof body.input === "string" ? [{ role: "user", content: body.input }] : body.input ?? [];
  const last = items.at(-1) ?? {};
  const results = [];
  for (let i = items.length - 1; i >= 0 && OUTPUT.test(items[i].type); i--) results.unshift(contentText(items[i].output));
  const choice = body.tool_choice;
  const format = body.text?.format;
  return {
    model: body.model,
    stream: body.stream === true,
    userText: contentText(items.filter((item) => item.role === "user").at(-1)?.content),
    toolResult: results.length ? results.join("; ") : null,
    prefill: last.role === "assistant" ? contentText(last.content) : "",
    endsWithAssistant: last.role === "assistant",
    tools: toolsOf(body),
    toolChoice: choice?.name ? { name: choice.name } : choice?.mode ?? (typeof choice === "string" ? choice : "auto"),
    parallel: body.parallel_tool_calls ?? true,
    maxTokens: body.max_output_tokens ?? null,
    format: format?.type === "json_schema" ? { schema: format.schema ?? {} } : format?.type === "json_object" ? {} : null,
    effort: body.reasoning ? body.reasoning.effort ?? "medium" : null,
    messages: items.length,
    inputBytes: bytesOf(body.instructions ?? "") + (body.tools ? bytesOf(JSON.stringify(body.tools)) : 0) +
      items.reduce((sum, item) => sum + (item.role ? messageBytes(item) : JSON.stringify(item).length), 0),
  };
}

const responseId = (call) => `resp_${call.id}`;

function usage(answer, call) {
  const { input, output, reasoning } = answer.usage;
  return call.usageOr({
    input_tokens: input,
    input_tokens_details: { cached_tokens: 0, cache_write_tokens: 0 },
    output_tokens: output,
    output_tokens_details: { reasoning_tokens: reasoning },
    total_tokens: input + output,
  });
}

// The response object: members that validators want present, set or null.
function envelope(prompt, { body, created, ...call }, status, members) {
  return {
    id: responseId(call), object: "response", created_at: created, status, background: false,
    completed_at: status === "completed" ? created : null,
    error: null, frequency_penalty: 0, incomplete_details: null, instructions: body.instructions ?? null,
    max_output_tokens: body.max_output_tokens ?? null, max_tool_calls: body.max_tool_calls ?? null, model: prompt.model, output: [],
    parallel_tool_calls: prompt.parallel, presence_penalty: 0, previous_response_id: body.previous_response_id ?? null,
    prompt_cache_key: body.prompt_cache_key ?? null,
    reasoning: { effort: body.reasoning?.effort ?? null, summary: body.reasoning?.summary ?? null },
    safety_identifier: body.safety_identifier ?? null, service_tier: "default", store: body.store ?? true,
    temperature: body.temperature ?? 1, text: { format: body.text?.format ?? { type: "text" }, verbosity: body.text?.verbosity ?? "medium" },
    tool_choice: body.tool_choice ?? "auto", tools: (body.tools ?? []).map(shown), top_logprobs: 0, top_p: body.top_p ?? 1,
    truncation: body.truncation ?? "disabled", usage: null, user: body.user ?? null, metadata: body.metadata ?? {},
    ...members,
  };
}

// Functions come back with their unset members filled in.
const shown = (tool) => (tool.type === "function" ? { description: null, parameters: null, strict: true, ...tool } : tool);

function finished(answer, prompt, call) {
  const [choice] = answer.choices;
  const cut = choice.finish === "length";
  const spent = usage(answer, call);
  return envelope(prompt, call, cut ? "incomplete" : "completed", {
    incomplete_details: cut ? { reason: "max_output_tokens" } : null,
    output: items(choice, call, cut ? "incomplete" : "completed"),
    usage: spent === undefined ? null : spent,
  });
}

const textPart = (text) => ({ type: "output_text", annotations: [], logprobs: [], text });

function items(choice, call, status) {
  const { body } = call;
  const out = [];
  if (choice.reasoning) {
    const summary = body.reasoning?.summary ? [{ type: "summary_text", text: choice.reasoning }] : [];
    const sealed = body.include?.includes("reasoning.encrypted_content");
    out.push({ id: `rs_${call.id}`, type: "reasoning", summary, ...(sealed ? { encrypted_content: Buffer.from(choice.reasoning).toString("base64") } : {}) });
  }
  if (choice.text) out.push({ id: `msg_${call.id}`, type: "message", status, role: "assistant", content: [textPart(choice.text)] });
  choice.calls.forEach((c, i) => out.push(c.freeform
    ? { id: `ctc_${call.id}_${i}`, type: "custom_tool_call", status, call_id: `call_${c.id}`, name: c.name, input: c.arguments }
    : { id: `fc_${call.id}_${i}`, type: "function_call", status, call_id: `call_${c.id}`, name: c.name, arguments: c.arguments }));
  return out;
}

function events(answer, prompt, call) {
  const out = [];
  const say = (type, members, marks) =>
    out.push({ event: type, data: JSON.stringify({ type, ...members, sequence_number: out.length }), ...marks });
  const response = finished(answer, prompt, call);
  const begun = envelope(prompt, call, "in_progress");
  say("response.created", { response: begun });
  say("response.in_progress", { response: begun });
  const [choice] = answer.choices;
  response.output.forEach((item, output_index) => {
    const at = { item_id: item.id, output_index };
    say("response.output_item.added", { output_index, item: emptied(item) });
    if (item.type === "reasoning" && item.summary.length) streamSummary(say, at, choice.reasoning);
    if (item.type === "message") streamText(say, at, choice);
    if (item.type === "function_call") streamArguments(say, at, "function_call_arguments", "arguments", item.arguments);
    if (item.type === "custom_tool_call") streamArguments(say, at, "custom_tool_call_input", "input", item.input);
    say("response.output_item.done", { output_index, item });
  });
  say(`response.${response.status}`, { response }, { last: true });
  return out;
}

function emptied(item) {
  if (item.type === "reasoning") return { id: item.id, type: item.type, summary: [] };
  if (item.type === "message") return { ...item, status: "in_progress", content: [] };
  return { ...item, status: "in_progress", [item.type === "function_call" ? "arguments" : "input"]: "" };
}

function streamSummary(say, at, text) {
  const where = { ...at, summary_index: 0 };
  say("response.reasoning_summary_part.added", { ...where, part: { type: "summary_text", text: "" } });
  for (const delta of text.match(/\s*\S+/g)) say("response.reasoning_summary_text.delta", { ...where, delta }, { content: true });
  say("response.reasoning_summary_text.done", { ...where, text });
  say("response.reasoning_summary_part.done", { ...where, part: { type: "summary_text", text } });
}

function streamText(say, at, { parts, text }) {
  const where = { ...at, content_index: 0 };
  say("response.content_part.added", { ...where, part: textPart("") });
  for (const delta of parts) say("response.output_text.delta", { ...where, delta, logprobs: [] }, { content: true });
  say("response.output_text.done", { ...where, text, logprobs: [] });
  say("response.content_part.done", { ...where, part: textPart(text) });
}

function streamArguments(say, at, name, member, whole) {
  for (const delta of whole.match(/[^]{1,12}/gu) ?? []) say(`response.${name}.delta`, { ...at, delta }, { content: true });
  say(`response.${name}.done`, { ...at, [member]: whole });
}

export const openaiResponses = {
  read, events, frame, responseId,
  whole: finished,
  error: openaiError,
  streamType: () => SSE,
  headers: openaiChat.headers,
  unauthorized: openaiChat.unauthorized,
};

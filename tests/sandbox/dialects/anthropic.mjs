// POST /v1/messages and /v1/messages/count_tokens.
import { invalid } from "../refusal.mjs";
import { frame, SSE } from "../sse.mjs";
import { inputTokens } from "../words.mjs";
import { bytesOf } from "./chat_messages.mjs";

const ERROR_TYPE = { 400: "invalid_request_error", 401: "authentication_error", 402: "billing_error", 403: "permission_error", 404: "not_found_error", 413: "request_too_large", 422: "invalid_request_error", 429: "rate_limit_error", 504: "timeout_error", 529: "overloaded_error" };
const KNOWN = new Set(("model max_tokens messages system tools tool_choice thinking output_config output_format stop_sequences temperature top_p " +
  "top_k metadata service_tier speed inference_geo container context_management cache_control diagnostics mcp_servers stream").split(" "));
const MEDIA_BYTES = 340;
const TOOL_BYTES = 2000; // the tool instructions the API adds: about 500 tokens

const textOf = (content) => typeof content === "string" ? content
  : Array.isArray(content) ? content.filter((block) => block?.type === "text").map((block) => block.text).join("") : "";
const blocks = (message) => (Array.isArray(message?.content) ? message.content : []);
const ofType = (message, type) => blocks(message).filter((block) => block?.type === type);

function check(body, call, counting) {
  const version = call.headers["anthropic-version"];
  if (!version) throw invalid("anthropic-version: header is required");
  if (typeof body.model !== "string" || !body.model) throw invalid("model: Field required");
  if (!counting) checkLimits(body, version);
  if (body.messages === undefined) throw invalid("messages: Field required");
  if (!Array.isArray(body.messages)) throw invalid("messages: Input should be a valid list");
  if (!body.messages.length) throw invalid("messages: at least one message is required");
  body.messages.forEach((message, i) => checkMessage(message, i, body.messages));
  checkTools(body);
  if (/^anthropic/.test(call.provider)) {
    const extra = Object.keys(body).find((name) => !KNOWN.has(name));
    if (extra) throw invalid(`${extra}: Extra inputs are not permitted`);
  }
}

function checkLimits(body, version) {
  if (body.max_tokens === undefined || body.max_tokens === null) throw invalid("max_tokens: Field required");
  if (!Number.isSafeInteger(body.max_tokens)) throw invalid("max_tokens: Input should be a valid integer");
  if (body.max_tokens < 0) throw invalid("max_tokens: Input should be greater than or equal to 0");
  const sampling = ["temperature", "top_p", "top_k"].find((name) => body[name] !== undefined);
  if (sampling && version >= "2026-10-21") throw invalid(`${sampling}: Extra inputs are not permitted`);
  if (body.temperature < 0 || body.temperature > 1) throw invalid("temperature: range: 0..1");
  if (body.stop_sequences?.some((stop) => !String(stop).trim())) throw invalid("stop_sequences: each stop sequence must contain non-whitespace");
  const { thinking } = body;
  if (thinking?.type !== "enabled") return;
  if (!(thinking.budget_tokens >= 1024)) throw invalid("thinking.enabled.budget_tokens: Input should be greater than or equal to 1024");
  if (thinking.budget_tokens >= body.max_tokens) throw invalid("`max_tokens` must be greater than `thinking.budget_tokens`. Please consult our documentation at https://docs.claude.com/en/docs/build-with-claude/extended-thinking#max-tokens-and-context-window-size");
  if (/^(any|tool)$/.test(body.tool_choice?.type)) throw invalid("Thinking may not be enabled when tool_choice forces tool use.");
}

function checkMessage(message, i, all) {
  const role = message?.role;
  if (role === undefined) throw invalid(`messages.${i}.role: Field required`);
  if (role !== "user" && role !== "assistant" && role !== "system") throw invalid(`messages.${i}.role: Input should be 'user' or 'assistant'`);
  if (message.content === undefined || message.content === null) throw invalid(`messages.${i}.content: Field required`);
  if (typeof message.content !== "string" && !Array.isArray(message.content)) throw invalid(`messages.${i}.content: Input should be a valid list`);
  const last = i === all.length - 1;
  if (!message.content.length && !(last && role === "assistant")) {
    throw invalid(`messages.${i}: all messages must have non-empty content except for the optional final assistant message`);
  }
  if (last && role === "assistant" && /\s$/.test(textOf(message.content))) throw invalid("messages: final assistant content cannot end with trailing whitespace");
  if (blocks(message).some((block) => block?.type === "text" && block.text === "")) throw invalid("messages: text content blocks must be non-empty");
  checkToolTurns(message, i, all);
}

// Each tool_use is answered in the very next message, and nothing else is.
function checkToolTurns(message, i, all) {
  const asked = ofType(all[i - 1], "tool_use").map((block) => block.id);
  const results = ofType(message, "tool_result").map((block) => block.tool_use_id);
  const stray = results.findIndex((id) => !asked.includes(id));
  if (stray >= 0) {
    throw invalid(`messages.${i}.content.${stray}: unexpected \`tool_use_id\` found in \`tool_result\` blocks: ${results[stray]}. Each \`tool_result\` block must have a corresponding \`tool_use\` block in the previous message.`);
  }
  const unanswered = asked.filter((id) => !results.includes(id));
  if (unanswered.length) {
    throw invalid(`messages.${i}: \`tool_use\` ids were found without \`tool_result\` blocks immediately after: ${unanswered.join(", ")}. Each \`tool_use\` block must have a corresponding \`tool_result\` block in the next message.`);
  }
  for (const { id } of ofType(message, "tool_use")) {
    if (!/^[a-zA-Z0-9_-]+$/.test(id ?? "")) throw invalid(`messages.${i}.content.0.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'`);
  }
}

function checkTools({ tools, tool_choice }) {
  (tools ?? []).forEach((tool, i) => {
    if (!tool?.name) throw invalid(`tools.${i}.name: Field required`);
    if (!/^[a-zA-Z0-9_-]{1,128}$/.test(tool.name)) throw invalid(`tools.${i}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{1,128}$'`);
    if (custom(tool) && !tool.input_schema) throw invalid(`tools.${i}.custom.input_schema: Field required`);
  });
  if (tool_choice?.type === "tool" && !tools?.some((tool) => tool.name === tool_choice.name)) throw invalid(`Tool '${tool_choice.name}' not found in provided tools`);
  if (tool_choice && !tools?.length && tool_choice.type !== "none") throw invalid("tool_choice: tool_choice may only be specified while providing tools");
}

const custom = (tool) => !tool.type || tool.type === "custom";

function inputBytes(body) {
  const inner = (block) => (block?.type === "text" ? bytesOf(block.text ?? "")
    : /image|document/.test(block?.type) ? MEDIA_BYTES : JSON.stringify(block ?? "").length);
  const content = (value) => (typeof value === "string" ? bytesOf(value) : (value ?? []).reduce((sum, block) => sum + inner(block), 0));
  const tools = body.tools?.length ? TOOL_BYTES + bytesOf(JSON.stringify(body.tools)) : 0;
  return content(body.system) + tools + body.messages.reduce((sum, message) => sum + content(message.content), 0);
}

function effortOf({ thinking, output_config }) {
  if (thinking?.type === "adaptive") return output_config?.effort ?? "medium";
  return thinking?.type === "enabled" ? (thinking.budget_tokens > 8000 ? "high" : "medium") : null;
}

function toolChoiceOf(choice) {
  if (choice?.type === "tool") return { name: choice.name };
  return { any: "required", none: "none" }[choice?.type] ?? "auto";
}

function read(call) {
  const { body } = call;
  check(body, call, false);
  const last = body.messages.at(-1);
  const spoken = body.messages.filter((message) => message.role === "user" && textOf(message.content)).at(-1);
  const results = ofType(last, "tool_result");
  const schema = (body.output_config?.format ?? body.output_format)?.schema;
  return {
    model: body.model,
    stream: body.stream === true,
    userText: textOf(spoken?.content),
    toolResult: results.length ? results.map((block) => textOf(block.content) || "nothing").join("; ") : null,
    prefill: last.role === "assistant" ? textOf(last.content) : "",
    endsWithAssistant: last.role === "assistant",
    tools: (body.tools ?? []).filter(custom).map((tool) => ({ name: tool.name, schema: tool.input_schema })),
    toolChoice: toolChoiceOf(body.tool_choice),
    parallel: body.tool_choice?.disable_parallel_tool_use !== true,
    maxTokens: body.max_tokens,
    stop: body.stop_sequences ?? [],
    format: schema ? { schema } : null,
    effort: effortOf(body),
    messages: body.messages.length,
    inputBytes: inputBytes(body),
  };
}

function usage(answer, call, output = answer.usage.output) {
  return call.usageOr({
    input_tokens: answer.usage.input,
    cache_creation_input_tokens: 0,
    cache_read_input_tokens: 0,
    cache_creation: { ephemeral_5m_input_tokens: 0, ephemeral_1h_input_tokens: 0 },
    output_tokens: output,
    output_tokens_details: { thinking_tokens: Math.min(output, answer.usage.reasoning) },
    server_tool_use: null,
    service_tier: "standard",
    inference_geo: "not_available",
  });
}

const STOP_REASON = { stop: "end_turn", length: "max_tokens", tool_calls: "tool_use" };
const stopReason = (choice) => (choice.stopSequence ? "stop_sequence" : STOP_REASON[choice.finish]);
const signature = (call) => Buffer.from(`simulated-signature-${call.key}`).toString("base64");
const responseId = (call) => `msg_${call.id}`;

// Arguments that broke off at the token limit are no JSON; the API then has nothing to show.
function inputOf(args) {
  try {
    return JSON.parse(args);
  } catch {
    return {};
  }
}

function content(choice, call) {
  const out = [];
  if (choice.reasoning) out.push({ type: "thinking", thinking: choice.reasoning, signature: signature(call) });
  if (choice.text) out.push({ type: "text", text: choice.text, citations: null });
  for (const c of choice.calls) out.push({ type: "tool_use", id: `toolu_${c.id}`, name: c.name, input: inputOf(c.arguments), caller: { type: "direct" } });
  return out;
}

function whole(answer, prompt, call) {
  const [choice] = answer.choices;
  return {
    id: responseId(call),
    type: "message",
    role: "assistant",
    model: prompt.model,
    content: content(choice, call),
    stop_reason: stopReason(choice),
    stop_sequence: choice.stopSequence,
    stop_details: null,
    container: null,
    usage: usage(answer, call),
  };
}

function events(answer, prompt, call) {
  const [choice] = answer.choices;
  const out = [];
  const say = (event, members, marks) => out.push({ event, data: JSON.stringify({ type: event, ...members }), ...marks });
  const start = { ...whole(answer, prompt, call), content: [], stop_reason: null, usage: usage(answer, call, 1) };
  say("message_start", { message: start });
  let index = 0;
  const block = (opening, deltas) => {
    say("content_block_start", { index, content_block: opening });
    if (!index) say("ping", {});
    for (const delta of deltas) say("content_block_delta", { index, delta }, { content: true });
    say("content_block_stop", { index: index++ });
  };
  if (choice.reasoning) {
    const thinking = choice.reasoning.match(/\s*\S+/g).map((part) => ({ type: "thinking_delta", thinking: part }));
    block({ type: "thinking", thinking: "", signature: "" }, [...thinking, { type: "signature_delta", signature: signature(call) }]);
  }
  if (choice.text) block({ type: "text", text: "" }, choice.parts.map((text) => ({ type: "text_delta", text })));
  for (const c of choice.calls) {
    // The first fragment is empty; a call without arguments has no other.
    const parts = ["", ...(c.arguments === "{}" ? [] : c.arguments.match(/[^]{1,12}/gu) ?? [])];
    block({ type: "tool_use", id: `toolu_${c.id}`, name: c.name, input: {} }, parts.map((partial_json) => ({ type: "input_json_delta", partial_json })));
  }
  say("message_delta", { delta: { stop_reason: stopReason(choice), stop_sequence: choice.stopSequence, stop_details: null }, usage: usage(answer, call) });
  say("message_stop", {}, { last: true });
  return out;
}

const shared = {
  error: (status, message, detail, provider, call) => ({
    type: "error",
    error: { type: detail.type ?? ERROR_TYPE[status] ?? (status >= 500 ? "api_error" : "invalid_request_error"), message },
    request_id: `req_${call.id}`,
  }),
  headers: (call) => ({ "request-id": `req_${call.id}` }),
  unauthorized: "x-api-key header is required",
};

export const anthropic = { ...shared, read, whole, events, frame, responseId, streamType: () => SSE };

// Google Cloud has the model in the path and the version in the body, whose `stream` must agree with the path.
export const anthropicOnVertex = {
  ...anthropic,
  read(call) {
    const { anthropic_version: version, ...body } = call.body;
    if (version !== "vertex-2023-10-16") throw invalid("anthropic_version: Input should be 'vertex-2023-10-16'");
    if (body.model !== undefined) throw invalid("model: Extra inputs are not permitted");
    if (Boolean(body.stream) !== (call.action === "streamRawPredict")) throw invalid("stream: does not agree with the path");
    return read({ ...call, body: { ...body, model: call.model }, headers: { ...call.headers, "anthropic-version": "2023-06-01" } });
  },
};

export const anthropicCount = {
  ...shared,
  read(call) {
    check(call.body, call, true);
    return call.body;
  },
  direct: (body) => ({ input_tokens: inputTokens(inputBytes(body), body.messages.length) }),
};

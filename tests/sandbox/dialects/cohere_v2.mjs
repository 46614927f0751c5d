// POST /v2/chat.
import { frame, SSE } from "../sse.mjs";
import { invalid } from "../refusal.mjs";
import { bytesOf, checkMessages, readMessages } from "./chat_messages.mjs";
import { readTools } from "./openai_chat.mjs";

const FINISH = { stop: "COMPLETE", length: "MAX_TOKENS", tool_calls: "TOOL_CALL" };

function read(call) {
  const { body } = call;
  if (typeof body.model !== "string" || !body.model) throw invalid("model is required");
  checkMessages(body.messages);
  const prompt = readMessages(body.messages);
  const format = body.response_format;
  const schema = format?.json_schema ?? format?.schema;
  return {
    ...prompt,
    model: body.model,
    stream: body.stream === true,
    tools: readTools(body.tools),
    toolChoice: body.tool_choice?.toLowerCase() ?? "auto",
    parallel: true,
    maxTokens: body.max_tokens ?? null,
    stop: body.stop_sequences ?? [],
    format: format?.type === "json_object" ? (schema ? { schema } : {}) : null,
    effort: body.thinking?.type === "enabled" ? "medium" : null,
    inputBytes: prompt.inputBytes + (body.tools ? bytesOf(JSON.stringify(body.tools)) : 0),
  };
}

// What is billed leaves out the preamble that `tokens` counts.
function usage(answer, call) {
  const { input, output } = answer.usage;
  return call.usageOr({
    billed_units: { input_tokens: input, output_tokens: output },
    tokens: { input_tokens: input + 500, output_tokens: output + 3 },
    cached_tokens: 0,
  });
}

const responseId = (call) => call.id;
const finishOf = (choice) => (choice.stopSequence ? "STOP_SEQUENCE" : FINISH[choice.finish]);
const toolCall = (c, args) => ({ id: `${c.name}_${c.id}`, type: "function", function: { name: c.name, arguments: args } });
const plan = (choice) => `I will use the ${choice.calls[0].name} tool.`;

function whole(answer, prompt, call) {
  const [choice] = answer.choices;
  const content = [
    ...(choice.reasoning ? [{ type: "thinking", thinking: choice.reasoning }] : []),
    ...(choice.text ? [{ type: "text", text: choice.text }] : []),
  ];
  const calls = choice.calls.length ? { tool_plan: plan(choice), tool_calls: choice.calls.map((c) => toolCall(c, c.arguments)) } : {};
  return { id: responseId(call), finish_reason: finishOf(choice), message: { role: "assistant", ...(content.length ? { content } : {}), ...calls }, usage: usage(answer, call) };
}

function events(answer, prompt, call) {
  const [choice] = answer.choices;
  const out = [];
  const say = (type, members, marks) => out.push({ event: type, data: JSON.stringify({ type, ...members }), ...marks });
  const message = (members) => ({ delta: { message: members } });
  say("message-start", { id: responseId(call), ...message({ role: "assistant", content: [], tool_plan: "", tool_calls: [], citations: [] }) });
  let index = 0;
  const block = (type, parts) => {
    say("content-start", { index, ...message({ content: { type, [type]: "" } }) });
    for (const part of parts) say("content-delta", { index, ...message({ content: { [type]: part } }) }, { content: true });
    say("content-end", { index: index++ });
  };
  if (choice.reasoning) block("thinking", choice.reasoning.match(/\s*\S+/g));
  if (choice.text) block("text", choice.parts);
  if (choice.calls.length) for (const part of plan(choice).match(/\s*\S+/g)) say("tool-plan-delta", message({ tool_plan: part }), { content: true });
  choice.calls.forEach((c, at) => {
    say("tool-call-start", { index: at, ...message({ tool_calls: toolCall(c, "") }) }, { content: true });
    for (const part of c.arguments.match(/[^]{1,12}/gu) ?? []) say("tool-call-delta", { index: at, ...message({ tool_calls: { function: { arguments: part } } }) }, { content: true });
    say("tool-call-end", { index: at });
  });
  say("message-end", { delta: { finish_reason: finishOf(choice), usage: usage(answer, call) } }, { last: true });
  out.push({ data: "[DONE]", last: true });
  return out;
}

export const cohere = {
  read, whole, events, frame, responseId,
  streamType: () => SSE,
  headers: (call) => ({ "x-debug-trace-id": call.id }),
  error: (status, message, detail, provider, call) => ({ id: call.id, message }),
  unauthorized: "no api key supplied",
};

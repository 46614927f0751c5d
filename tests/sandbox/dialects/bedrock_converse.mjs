// POST /model/{id}/converse and /converse-stream (binary event stream).
import { invalid } from "../refusal.mjs";
import { eventstreamFrame } from "../eventstream.mjs";
import { bytesOf } from "./chat_messages.mjs";

const EXCEPTION = { 400: "ValidationException", 401: "UnrecognizedClientException", 403: "AccessDeniedException", 404: "ResourceNotFoundException", 408: "ModelTimeoutException", 424: "ModelErrorException", 429: "ThrottlingException", 500: "InternalServerException", 503: "ServiceUnavailableException" };
const STOP_REASON = { stop: "end_turn", length: "max_tokens", tool_calls: "tool_use" };
const MEDIA_BYTES = 340;

const textOf = (message) => (message?.content ?? []).map((block) => block.text ?? "").join("");
const having = (message, member) => (message?.content ?? []).filter((block) => block?.[member]);

function check({ messages, toolConfig }) {
  if (!Array.isArray(messages) || !messages.length) throw invalid("1 validation error detected: Value at 'messages' failed to satisfy constraint: Member must not be null");
  messages.forEach((message, i) => {
    if (!/^(user|assistant)$/.test(message?.role)) throw invalid(`1 validation error detected: Value '${message?.role}' at 'messages.${i + 1}.member.role' failed to satisfy constraint: Member must satisfy enum value set: [user, assistant]`);
    if (!Array.isArray(message.content) || !message.content.length) throw invalid(`The content field in the Message object at messages.${i} is empty. Add a ContentBlock object to the content field and try again.`);
    const asked = having(messages[i - 1], "toolUse").map((block) => block.toolUse.toolUseId);
    const given = having(message, "toolResult").map((block) => block.toolResult.toolUseId);
    if (asked.length !== given.length || given.some((id) => !asked.includes(id))) {
      throw invalid(given.length > asked.length
        ? `The number of toolResult blocks at messages.${i}.content exceeds the number of toolUse blocks of previous turn.`
        : `Expected toolResult blocks at messages.${i}.content for the following Ids: ${asked.filter((id) => !given.includes(id)).join(", ")}`);
    }
    if ((asked.length || given.length) && !toolConfig) throw invalid("The toolConfig field must be defined when using toolUse and toolResult content blocks.");
  });
}

function inputBytes(body) {
  const block = (b) => (typeof b?.text === "string" ? bytesOf(b.text) : b?.image || b?.document ? MEDIA_BYTES : JSON.stringify(b ?? "").length);
  const all = [...(body.system ?? []), ...body.messages.flatMap((message) => message.content)];
  return all.reduce((sum, b) => sum + block(b), 0) + (body.toolConfig ? bytesOf(JSON.stringify(body.toolConfig)) : 0);
}

function resultText({ toolResult }) {
  return (toolResult.content ?? []).map((block) => block.text ?? JSON.stringify(block.json ?? block)).join(" ");
}

function read(call) {
  const { body } = call;
  check(body);
  const last = body.messages.at(-1);
  const results = having(last, "toolResult");
  const choice = body.toolConfig?.toolChoice;
  const extra = body.additionalModelRequestFields ?? {};
  return {
    model: call.model,
    stream: call.action === "converse-stream",
    userText: textOf(body.messages.filter((message) => message.role === "user" && textOf(message)).at(-1)),
    toolResult: results.length ? results.map(resultText).join("; ") : null,
    prefill: last.role === "assistant" ? textOf(last) : "",
    endsWithAssistant: last.role === "assistant",
    tools: (body.toolConfig?.tools ?? []).filter((tool) => tool.toolSpec).map(({ toolSpec }) => ({ name: toolSpec.name, schema: toolSpec.inputSchema?.json })),
    toolChoice: choice?.tool ? { name: choice.tool.name } : choice?.any ? "required" : "auto",
    parallel: true,
    maxTokens: body.inferenceConfig?.maxTokens ?? null,
    stop: body.inferenceConfig?.stopSequences ?? [],
    format: null,
    effort: extra.reasoning_effort ?? (extra.thinking && extra.thinking.type !== "disabled" ? "medium" : null),
    messages: body.messages.length,
    inputBytes: inputBytes(body),
  };
}

const responseId = (call) => call.id;
const stopReason = (choice) => (choice.stopSequence ? "stop_sequence" : STOP_REASON[choice.finish]);
const signature = (call) => Buffer.from(`simulated-signature-${call.key}`).toString("base64");
const toolUseId = (c) => `tooluse_${c.id}`;

function usage(answer, call) {
  const { input, output } = answer.usage;
  return call.usageOr({ inputTokens: input, outputTokens: output, totalTokens: input + output, cacheReadInputTokens: 0, cacheWriteInputTokens: 0 });
}

function inputOf(args) {
  try {
    return JSON.parse(args);
  } catch {
    return {};
  }
}

function whole(answer, prompt, call) {
  const [choice] = answer.choices;
  const content = [
    ...(choice.reasoning ? [{ reasoningContent: { reasoningText: { text: choice.reasoning, signature: signature(call) } } }] : []),
    ...(choice.text ? [{ text: choice.text }] : []),
    ...choice.calls.map((c) => ({ toolUse: { toolUseId: toolUseId(c), name: c.name, input: inputOf(c.arguments) } })),
  ];
  return { metrics: { latencyMs: 1 }, output: { message: { content, role: "assistant" } }, stopReason: stopReason(choice), usage: usage(answer, call) };
}

function events(answer, prompt, call) {
  const [choice] = answer.choices;
  const out = [];
  const say = (event, members, marks) => out.push({ event, data: JSON.stringify(members), ...marks });
  let contentBlockIndex = 0;
  const block = (deltas, start) => {
    if (start) say("contentBlockStart", { contentBlockIndex, start });
    for (const delta of deltas) say("contentBlockDelta", { contentBlockIndex, delta }, { content: true });
    say("contentBlockStop", { contentBlockIndex: contentBlockIndex++ });
  };
  say("messageStart", { role: "assistant" });
  if (choice.reasoning) {
    const parts = choice.reasoning.match(/\s*\S+/g).map((text) => ({ reasoningContent: { text } }));
    block([...parts, { reasoningContent: { signature: signature(call) } }]);
  }
  if (choice.text) block(choice.parts.map((text) => ({ text })));
  for (const c of choice.calls) {
    block((c.arguments.match(/[^]{1,12}/gu) ?? []).map((input) => ({ toolUse: { input } })), { toolUse: { toolUseId: toolUseId(c), name: c.name } });
  }
  say("messageStop", { stopReason: stopReason(choice) }, { last: true });
  say("metadata", { metrics: { latencyMs: 1 }, usage: usage(answer, call) }, { last: true });
  return out;
}

export const bedrock = {
  read, whole, events, responseId,
  frame: eventstreamFrame,
  streamType: () => "application/vnd.amazon.eventstream",
  headers: (call) => ({ "x-amzn-requestid": call.id }),
  error: (status, message) => ({ message }),
  errorHeaders: (status) => ({ "x-amzn-errortype": EXCEPTION[status] ?? (status >= 500 ? "InternalServerException" : "ValidationException") }),
  unauthorized: "Missing Authentication Token",
};

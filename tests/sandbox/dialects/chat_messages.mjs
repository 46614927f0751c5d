// The messages array of the chat dialects (OpenAI chat, Cohere v2): checked as OpenAI checks it, then read into a prompt.
import { invalid } from "../refusal.mjs";

const ROLES = ["system", "assistant", "user", "function", "tool", "developer"];
const IMAGE_BYTES = 340;

export const missing = (param) => invalid(`Missing required parameter: '${param}'.`, { param, code: "missing_required_parameter" });

export function checkRange(body, name, low, high) {
  const value = body[name];
  if (value === undefined || value === null) return;
  if (typeof value !== "number") {
    throw invalid(`Invalid type for '${name}': expected a number, but got ${kind(value)} instead.`, { param: name, code: "invalid_type" });
  }
  if (value < low) throw invalid(`Invalid '${name}': number below minimum value. Expected a value >= ${low}, but got ${value} instead.`, { param: name, code: "integer_below_min_value" });
  if (value > high) throw invalid(`Invalid '${name}': number above maximum value. Expected a value <= ${high}, but got ${value} instead.`, { param: name, code: "integer_above_max_value" });
}

export function kind(value) {
  if (value === null) return "null";
  if (Array.isArray(value)) return "an array";
  return typeof value === "object" ? "an object" : `a ${typeof value}`;
}

export function checkMessages(messages) {
  if (messages === undefined || messages === null) throw missing("messages");
  if (!Array.isArray(messages)) {
    throw invalid(`Invalid type for 'messages': expected an array of objects, but got ${kind(messages)} instead.`, { param: "messages", code: "invalid_type" });
  }
  if (!messages.length) {
    throw invalid("Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.", { param: "messages", code: "empty_array" });
  }
  let open = new Set();
  messages.forEach((message, i) => {
    checkMessage(message, `messages[${i}]`);
    if (message.role === "tool") {
      if (!message.tool_call_id) throw missing(`messages[${i}].tool_call_id`);
      if (!open.delete(message.tool_call_id)) {
        throw invalid("Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.", { param: `messages.[${i}].role` });
      }
      return;
    }
    answered(open);
    open = new Set((message.tool_calls ?? []).map((call) => call.id));
  });
  answered(open);
}

function answered(open) {
  if (open.size) {
    throw invalid("An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. " +
      `The following tool_call_ids did not have response messages: ${[...open].join(", ")}`, { param: "messages" });
  }
}

function checkMessage(message, at) {
  if (typeof message !== "object" || message === null || Array.isArray(message)) {
    throw invalid(`Invalid type for '${at}': expected an object, but got ${kind(message)} instead.`, { param: at, code: "invalid_type" });
  }
  if (message.role === undefined) throw missing(`${at}.role`);
  if (!ROLES.includes(message.role)) {
    const known = ROLES.map((role) => `'${role}'`);
    throw invalid(`Invalid value: '${message.role}'. Supported values are: ${known.slice(0, -1).join(", ")}, and ${known.at(-1)}.`, { param: `${at}.role`, code: "invalid_value" });
  }
  const { content } = message;
  if (typeof content === "string" || Array.isArray(content)) return;
  if (content === undefined || content === null) {
    if (message.role === "assistant") return;
    throw invalid("Invalid value for 'content': expected a string, got null.", { param: `${at}.content` });
  }
  throw invalid(`Invalid type for '${at}.content': expected one of a string or array of objects, but got ${kind(content)} instead.`, { param: `${at}.content`, code: "invalid_type" });
}

export function contentText(content) {
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) return "";
  return content.map((part) => (typeof part === "string" ? part : part?.text ?? part?.refusal ?? "")).join("");
}

export const bytesOf = (text) => Buffer.byteLength(text);

// Bytes that count as input: texts, calls and their arguments; a picture, sound or file counts flat.
export function messageBytes(message) {
  const parts = Array.isArray(message.content) ? message.content : [];
  const media = parts.filter((part) => part?.type && !/text|refusal|thinking/.test(part.type)).length;
  const calls = message.tool_calls ? JSON.stringify(message.tool_calls).length : 0;
  return bytesOf(contentText(message.content)) + media * IMAGE_BYTES + calls;
}

// The members of a prompt that follow from the messages.
export function readMessages(messages) {
  const last = messages.at(-1);
  const users = messages.filter((message) => message.role === "user");
  const results = [];
  for (let i = messages.length - 1; i >= 0 && /^(tool|function)$/.test(messages[i].role); i--) results.unshift(contentText(messages[i].content));
  return {
    userText: contentText(users.at(-1)?.content),
    toolResult: results.length ? results.join("; ") : null,
    prefill: last.role === "assistant" ? contentText(last.content) : "",
    endsWithAssistant: last.role === "assistant",
    messages: messages.length,
    inputBytes: messages.reduce((sum, message) => sum + messageBytes(message), 0),
  };
}

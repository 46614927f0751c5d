// What the simulated model says. Knows no wire format: a dialect reads a request into a prompt and writes this answer out.
//
// prompt: {model, userText, toolResult, prefill, tools:[{name,schema}], toolChoice: auto|none|required|{name}, parallel,
//          maxTokens, stop:[], n, format: null|{schema?}, effort: null|minimal…max, inputBytes, messages}
import { hintsFrom, sample } from "./schema.mjs";
import { excerpt, hash, hex, inputTokens, numberWord, pieces, piecesWithin, remarks, tokensOf } from "./words.mjs";

const REASONING_TOKENS = { none: 0, minimal: 12, low: 24, medium: 48, high: 96, xhigh: 160, max: 240 };
const COUNT_MAX = 20_000;

export function compose(given, call) {
  const prompt = { ...given, userText: spokenBy(given.userText) };
  const choices = [];
  for (let index = 0; index < (prompt.n ?? 1); index++) choices.push(choice(prompt, call, index));
  const sum = (member) => choices.reduce((total, c) => total + c[member], 0);
  const input = inputTokens(prompt.inputBytes, prompt.messages);
  return { choices, usage: { input, output: sum("tokens"), reasoning: sum("reasoningTokens") } };
}

// What agents put between these tags is told to the model, not said by the user: it asks for nothing.
const spokenBy = (text) => text.replace(/<(system-reminder|environment_context)>.*?<\/\1>\s*/gs, "");

// tokens counts everything generated, reasoning included.
function choice(prompt, call, index) {
  const room = prompt.maxTokens ?? Infinity;
  const wanted = REASONING_TOKENS[prompt.effort ?? "none"] ?? REASONING_TOKENS.medium;
  const reasoningTokens = Math.min(wanted, room);
  const reasoning = reasoningTokens ? thoughts(prompt, reasoningTokens) : "";
  const spoken = chooseTools(prompt).length && !index
    ? toolCalls(prompt, call, room - reasoningTokens)
    : speech(prompt, call, index, room - reasoningTokens);
  return { index, reasoning, reasoningTokens, ...spoken, tokens: Math.max(1, spoken.tokens + reasoningTokens) };
}

function thoughts(prompt, tokens) {
  const all = pieces(`The request is about ${excerpt(prompt.userText, 40) || "nothing in particular"}. ${remarks(hash(prompt.userText), 24)}`);
  return all.slice(0, piecesWithin(tokens)).join("");
}

function speech(prompt, call, index, room) {
  const label = `[simulated ${call.provider}/${prompt.model}]`;
  let text = prompt.format ? structured(prompt, label) : continued(prompt, label, plain(prompt, index));
  let finish = "stop";
  let stopSequence = null;
  for (const stop of prompt.stop ?? []) {
    const at = stop ? text.indexOf(stop) : -1;
    if (at >= 0) [text, stopSequence] = [text.slice(0, at), stop];
  }
  let parts = pieces(text);
  let tokens = tokensOf(parts.length);
  if (tokens > room) {
    parts = parts.slice(0, piecesWithin(room));
    [tokens, finish, stopSequence] = [room, "length", null];
  }
  return { text: parts.join(""), parts, calls: [], finish, stopSequence, tokens };
}

function plain(prompt, index) {
  const seed = hash(prompt.userText) + index;
  if (prompt.toolResult !== null) return `The tool returned: ${excerpt(prompt.toolResult, 400)} ${remarks(seed, 1)}`;
  const count = prompt.userText.match(/\bcount (?:up )?to (\d{1,6})\b/i);
  if (count) return Array.from({ length: Math.min(Number(count[1]), COUNT_MAX) }, (_, i) => numberWord(i + 1)).join(" ");
  return `You said: "${excerpt(prompt.userText)}" ${remarks(seed, 2 + (seed % 3))}`;
}

// An answer already begun (the last message is the assistant's) is carried on where it ends, whoever began it: that is what
// rescue in mid-stream relies on.
function continued(prompt, label, body) {
  if (!prompt.prefill) return `${label} ${body}`;
  const begun = prompt.prefill.replace(/^\[simulated [^\]]*\]\s?/, "");
  if (begun !== prompt.prefill && body.startsWith(begun)) return body.slice(begun.length);
  const trimmed = begun.trimEnd();
  if (begun !== prompt.prefill && body.startsWith(trimmed)) return body.slice(trimmed.length).trimStart();
  return ` ${label} ${body}`;
}

function structured(prompt, label) {
  const { schema } = prompt.format;
  if (!schema) {
    const asked = [...prompt.userText.matchAll(/['"`](\w{1,40})['"`](?=[^.]*\bkeys?\b)/g)].map(([, name]) => [name, `${label} ${name}`]);
    if (asked.length) return JSON.stringify(Object.fromEntries(asked));
    return JSON.stringify({ simulated: true, answer: `${label} ${excerpt(prompt.userText)}` });
  }
  return JSON.stringify(sample(schema, hintsFrom(prompt.userText), { every: true }));
}

// Which tools to call: forced ones, or those the last user message asks for. A tool's result is answered in words.
function chooseTools(prompt) {
  const { tools, toolChoice, userText } = prompt;
  if (!tools.length || toolChoice === "none" || prompt.toolResult !== null) return [];
  const named = tools.filter((tool) => mentions(userText, tool.name));
  let chosen = named.length ? named : tools.slice().sort((a, b) => weatherFirst(b, userText) - weatherFirst(a, userText));
  if (toolChoice?.name) chosen = tools.filter((tool) => tool.name === toolChoice.name);
  else if (toolChoice !== "required" && !named.length && !/\b(tools?|weather)\b/i.test(userText)) return [];
  if (prompt.parallel === false || !/\b(both|parallel)\b/i.test(userText)) return chosen.slice(0, 1);
  return chosen.length > 1 ? (named.length > 1 ? named : chosen.slice(0, 2)) : [chosen[0], chosen[0]];
}

const mentions = (text, name) => text.includes(name) || text.toLowerCase().includes(name.replaceAll("_", " ").toLowerCase());
const weatherFirst = (tool, text) => (/weather/i.test(text) && /weather/i.test(tool.name) ? 1 : 0);

function toolCalls(prompt, call, room) {
  let tokens = 0;
  let finish = "tool_calls";
  const calls = [];
  for (const [turn, tool] of chooseTools(prompt).entries()) {
    let args = tool.freeform ? excerpt(prompt.userText) : JSON.stringify(sample(tool.schema ?? {}, hintsFrom(prompt.userText, turn)) ?? {});
    const cost = 12 + Math.ceil((tool.name.length + args.length) / 4);
    if (tokens + cost > room) {
      // Out of tokens in mid-call: the arguments break off, as they do in life.
      args = args.slice(0, Math.floor(args.length * Math.max(0, room - tokens) / cost));
      finish = "length";
    }
    calls.push({ id: hex(hash(`${call.key}/${turn}`)) + hex(hash(tool.name)), name: tool.name, arguments: args, freeform: tool.freeform });
    tokens = Math.min(room, tokens + cost);
    if (finish === "length") break;
  }
  return { text: "", parts: [], calls, finish, stopSequence: null, tokens };
}

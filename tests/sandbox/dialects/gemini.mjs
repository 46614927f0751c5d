// POST /v1beta/models/{model}:generateContent, :streamGenerateContent and :countTokens.
import { invalid } from "../refusal.mjs";
import { crlfFrame } from "../sse.mjs";
import { inputTokens } from "../words.mjs";
import { bytesOf } from "./chat_messages.mjs";

const STATUS = { 400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 409: "ABORTED", 429: "RESOURCE_EXHAUSTED", 499: "CANCELLED", 500: "INTERNAL", 501: "UNIMPLEMENTED", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED" };
const KNOWN = new Set(("contents systemInstruction system_instruction tools toolConfig tool_config generationConfig generation_config " +
  "safetySettings safety_settings cachedContent cached_content serviceTier service_tier labels model").split(" "));
const MEDIA_BYTES = 1032; // a picture is 258 tokens

const partsOf = (content) => (Array.isArray(content?.parts) ? content.parts : []);
const textOf = (content) => partsOf(content).filter((part) => !part.thought).map((part) => part.text ?? "").join("");
const having = (content, member) => partsOf(content).filter((part) => part?.[member]);

function check(body, call) {
  for (const name of Object.keys(body)) {
    if (!KNOWN.has(name)) throw invalid(`Invalid JSON payload received. Unknown name "${name}": Cannot find field.`);
  }
  const { contents } = body;
  if (!Array.isArray(contents) || !contents.length) throw invalid("* GenerateContentRequest.contents: contents is not specified\n");
  contents.forEach((content, i) => {
    if (content?.role !== undefined && !/^(user|model|function)$/.test(content.role)) throw invalid("Please use a valid role: user, model.");
    if (!partsOf(content).length) throw invalid(`* GenerateContentRequest.contents[${i}].parts: contents.parts must not be empty.\n`);
    if (partsOf(content).some((part) => part?.text === "" && Object.keys(part).length === 1)) throw invalid("Unable to submit request because it must have a text parameter.");
    checkFunctionTurn(content, contents[i - 1]);
  });
  if (/^gemini-3/.test(call.model)) checkSignatures(contents);
  const count = body.generationConfig?.candidateCount;
  if (count !== undefined && !(count >= 1 && count <= 8)) throw invalid("Invalid value at 'generation_config.candidate_count': must be between 1 and 8.");
  if (body.generationConfig?.stopSequences?.length > 5) throw invalid("Invalid value at 'generation_config.stop_sequences': at most 5 are allowed.");
}

function checkFunctionTurn(content, before) {
  const results = having(content, "functionResponse").length;
  if (!results) return;
  const calls = having(before, "functionCall").length;
  if (!calls) throw invalid("Please ensure that function response turn comes immediately after a function call turn.");
  if (calls !== results) throw invalid("Please ensure that the number of function response parts is equal to the number of function call parts of the function call turn.");
}

// Gemini 3 wants back the signature it gave to the first call of each step since the user last spoke.
function checkSignatures(contents) {
  const spoken = contents.findLastIndex((content) => content.role !== "model" && textOf(content));
  contents.slice(spoken + 1).forEach((content, i) => {
    const [first] = having(content, "functionCall");
    if (first && !first.thoughtSignature && !first.thought_signature) {
      throw invalid(`Function call is missing a thought_signature in functionCall parts. This is required for tools to work correctly, and missing thought_signature may lead to degraded model performance. Additional data, function call \`default_api:${first.functionCall.name}\` , position ${spoken + 2 + i}.`);
    }
  });
}

function inputBytes(body) {
  const part = (p) => (p?.inlineData || p?.fileData ? MEDIA_BYTES : typeof p?.text === "string" ? bytesOf(p.text) : JSON.stringify(p ?? "").length);
  const content = (c) => partsOf(c).reduce((sum, p) => sum + part(p), 0);
  return (body.contents ?? []).reduce((sum, c) => sum + content(c), content(body.systemInstruction ?? body.system_instruction)) +
    (body.tools ? bytesOf(JSON.stringify(body.tools)) : 0);
}

function toolChoiceOf(config) {
  const names = config?.allowedFunctionNames;
  if (config?.mode === "NONE") return "none";
  if (config?.mode !== "ANY") return "auto";
  return names?.length === 1 ? { name: names[0] } : "required";
}

function effortOf(thinking) {
  if (!thinking || thinking.thinkingBudget === 0) return null;
  return thinking.thinkingLevel?.toLowerCase() ?? "medium";
}

function read(call) {
  const { body } = call;
  check(body, call);
  const config = body.generationConfig ?? body.generation_config ?? {};
  const last = body.contents.at(-1);
  const spoken = body.contents.filter((content) => content.role !== "model" && textOf(content)).at(-1);
  const results = having(last, "functionResponse");
  const schema = config.responseJsonSchema ?? config.responseSchema;
  return {
    model: call.model,
    stream: call.action === "streamGenerateContent",
    asArray: call.query.get("alt") !== "sse",
    showThoughts: config.thinkingConfig?.includeThoughts === true,
    userText: textOf(spoken),
    toolResult: results.length ? results.map((part) => JSON.stringify(part.functionResponse.response ?? {})).join("; ") : null,
    prefill: last.role === "model" ? textOf(last) : "",
    endsWithAssistant: last.role === "model",
    tools: (body.tools ?? []).flatMap((tool) => tool.functionDeclarations ?? tool.function_declarations ?? [])
      .map((f) => ({ name: f.name, schema: f.parametersJsonSchema ?? f.parameters })),
    toolChoice: toolChoiceOf((body.toolConfig ?? body.tool_config)?.functionCallingConfig),
    parallel: true,
    maxTokens: config.maxOutputTokens ?? null,
    stop: config.stopSequences ?? [],
    n: config.candidateCount ?? 1,
    format: schema ? { schema } : config.responseMimeType === "application/json" ? {} : null,
    effort: effortOf(config.thinkingConfig),
    messages: body.contents.length,
    inputBytes: inputBytes(body),
  };
}

const responseId = (call) => call.id;
const signature = (call) => Buffer.from(`simulated-signature-${call.key}`).toString("base64");

// candidatesTokenCount leaves the thoughts out; the total has them.
function usage(answer, call) {
  const { input, output, reasoning } = answer.usage;
  return call.usageOr({
    promptTokenCount: input,
    candidatesTokenCount: output - reasoning,
    totalTokenCount: input + output,
    promptTokensDetails: [{ modality: "TEXT", tokenCount: input }],
    ...(reasoning ? { thoughtsTokenCount: reasoning } : {}),
  });
}

function callParts(choice, call) {
  return choice.calls.map((c, i) => ({
    functionCall: { name: c.name, args: argsOf(c.arguments) },
    ...(i ? {} : { thoughtSignature: signature(call) }),
  }));
}

function argsOf(text) {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}

const finishOf = (choice) => (choice.finish === "length" ? "MAX_TOKENS" : "STOP");

function respond(candidates, spent, prompt, call) {
  return { candidates, ...(spent === undefined ? {} : { usageMetadata: spent }), modelVersion: prompt.model, responseId: responseId(call) };
}

function whole(answer, prompt, call) {
  const candidates = answer.choices.map((choice) => ({
    content: {
      parts: [
        ...(prompt.showThoughts && choice.reasoning ? [{ text: choice.reasoning, thought: true }] : []),
        ...(choice.text ? [{ text: choice.text }] : []),
        ...callParts(choice, call),
      ],
      role: "model",
    },
    finishReason: finishOf(choice),
    index: choice.index,
  }));
  return respond(candidates, usage(answer, call), prompt, call);
}

// Every event is a whole response with part of the text; the last one of a candidate says why it ended.
function events(answer, prompt, call) {
  const out = [];
  const early = call.usageOr({ promptTokenCount: answer.usage.input, totalTokenCount: answer.usage.input });
  const full = usage(answer, call);
  for (const [i, choice] of answer.choices.entries()) {
    const steps = [
      ...(prompt.showThoughts ? choice.reasoning.match(/\s*\S+/g) ?? [] : []).map((text) => [{ text, thought: true }]),
      ...choice.parts.map((text) => [{ text }]),
      ...(choice.calls.length ? [callParts(choice, call)] : []),
    ];
    if (!steps.length) steps.push([]);
    steps.forEach((parts, at) => {
      const ends = at === steps.length - 1;
      const candidate = { content: { parts, role: "model" }, ...(ends ? { finishReason: finishOf(choice) } : {}), index: choice.index };
      const last = ends && i === answer.choices.length - 1;
      out.push({ data: JSON.stringify(respond([candidate], last ? full : early, prompt, call)), content: true, last });
    });
  }
  // Without alt=sse the stream is one JSON array.
  if (prompt.asArray) out.forEach((e, i) => { e.between = i ? ",\r\n" : "["; e.closing = e.last ? "\n]" : ""; });
  return out;
}

export const gemini = {
  read, whole, events, responseId,
  frame: (e) => (e.between === undefined ? crlfFrame(e) : e.between + e.data + e.closing),
  streamType: (prompt) => (prompt.asArray ? "application/json; charset=UTF-8" : "text/event-stream"),
  headers: () => ({ server: "scaffolding on HTTPServer2" }),
  error: (status, message) => ({ error: { code: status, message, status: STATUS[status] ?? (status >= 500 ? "UNAVAILABLE" : "INVALID_ARGUMENT") } }),
  unauthorized: "Request is missing required authentication credential. Expected OAuth 2 access token, login cookie or other valid authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project.",
};

export const geminiCount = {
  ...gemini,
  read: ({ body }) => ({ ...body, ...body.generateContentRequest }),
  direct: (body) => {
    const totalTokens = inputTokens(inputBytes(body), body.contents?.length ?? 1);
    return { totalTokens, promptTokensDetails: [{ modality: "TEXT", tokenCount: totalTokens }] };
  },
};

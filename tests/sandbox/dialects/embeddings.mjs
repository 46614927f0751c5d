// POST /embeddings: unit vectors that depend on the text alone.
import { invalid } from "../refusal.mjs";
import { hash, inputTokens } from "../words.mjs";
import { bytesOf, missing } from "./chat_messages.mjs";
import { openaiChat, openaiError } from "./openai_chat.mjs";

const INPUTS_MAX = 2048;
const TOKEN_BYTES = 4;

function inputsOf(input) {
  if (typeof input === "string") return [input];
  if (!Array.isArray(input)) throw invalid("Invalid type for 'input': expected a string or an array.", { param: "input", code: "invalid_type" });
  // A list of token ids is one text; a list of lists is many.
  return typeof input[0] === "number" ? [input] : input;
}

function vector(text, dimensions) {
  const out = new Float32Array(dimensions);
  let state = hash(String(text)) || 1;
  let norm = 0;
  for (let i = 0; i < dimensions; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    out[i] = state / 0x80000000;
    norm += out[i] * out[i];
  }
  norm = Math.sqrt(norm);
  return out.map((x) => x / norm);
}

function read({ body }) {
  if (typeof body.model !== "string" || !body.model) throw invalid("you must provide a model parameter");
  if (body.input === undefined || body.input === null) throw missing("input");
  const inputs = inputsOf(body.input);
  if (!inputs.length || inputs.includes("")) throw invalid("'$.input' is invalid. Please check the API reference: https://platform.openai.com/docs/api-reference.");
  if (inputs.length > INPUTS_MAX) throw invalid(`'$.input' is invalid: array is longer than ${INPUTS_MAX}.`, { param: "input" });
  if (body.dimensions !== undefined && !(Number.isSafeInteger(body.dimensions) && body.dimensions >= 1 && body.dimensions <= 8192)) {
    throw invalid("Invalid 'dimensions': integer below minimum value. Expected a value >= 1.", { param: "dimensions" });
  }
  return { ...body, inputs };
}

function direct({ model, inputs, dimensions, encoding_format }, call) {
  const size = dimensions ?? (/large/.test(model) ? 3072 : 1536);
  const data = inputs.map((input, index) => {
    const floats = vector(input, size);
    const embedding = encoding_format === "base64" ? Buffer.from(floats.buffer).toString("base64") : Array.from(floats);
    return { object: "embedding", index, embedding };
  });
  const bytes = inputs.reduce((sum, input) => sum + (typeof input === "string" ? bytesOf(input) : input.length * TOKEN_BYTES), 0);
  const tokens = inputTokens(bytes, 0);
  return { object: "list", data, model, usage: call.usageOr({ prompt_tokens: tokens, total_tokens: tokens }) };
}

export const embeddings = { read, direct, error: openaiError, headers: openaiChat.headers, unauthorized: openaiChat.unauthorized };

// Which dialect a path speaks. Its end decides, so any base URL works: /acme, /acme/v1, /acme/openai/v1.
import { anthropic, anthropicCount, anthropicOnVertex } from "./dialects/anthropic.mjs";
import { bedrock } from "./dialects/bedrock_converse.mjs";
import { cohere } from "./dialects/cohere_v2.mjs";
import { completions } from "./dialects/completions.mjs";
import { embeddings } from "./dialects/embeddings.mjs";
import { gemini, geminiCount } from "./dialects/gemini.mjs";
import { models } from "./dialects/models.mjs";
import { openaiChat } from "./dialects/openai_chat.mjs";
import { openaiResponses } from "./dialects/openai_responses.mjs";

const ROUTES = [
  ["POST", /\/chat\/completions$/, openaiChat],
  ["POST", /\/messages\/count_tokens$/, anthropicCount],
  ["POST", /\/messages$/, anthropic],
  ["POST", /\/responses$/, openaiResponses],
  ["POST", /\/models\/(.+):(generateContent|streamGenerateContent)$/, gemini],
  ["POST", /\/models\/(.+):(countTokens)$/, geminiCount],
  ["POST", /\/model\/(.+)\/(converse|converse-stream)$/, bedrock],
  ["POST", /\/publishers\/anthropic\/models\/(.+):(rawPredict|streamRawPredict)$/, anthropicOnVertex],
  ["POST", /\/v2\/chat$/, cohere],
  ["POST", /\/completions$/, completions],
  ["POST", /\/embeddings$/, embeddings],
  ["GET", /\/models(?:\/(.+))?$/, models],
];

// The model and the action come from the path where the dialect puts them there.
export function route(method, path) {
  for (const [verb, pattern, dialect] of ROUTES) {
    const match = verb === method && pattern.exec(path);
    if (match) return { dialect, model: match[1] && decodeURIComponent(match[1]), action: match[2] };
  }
  return null;
}

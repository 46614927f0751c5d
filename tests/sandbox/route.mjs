// Which dialect a path speaks. Its end decides, so any base URL works: /acme, /acme/v1, /acme/openai/v1.
import { anthropic, anthropicCount } from "./dialects/anthropic.mjs";
import { openaiChat } from "./dialects/openai_chat.mjs";

const ROUTES = [
  ["POST", /\/chat\/completions$/, openaiChat],
  ["POST", /\/messages\/count_tokens$/, anthropicCount],
  ["POST", /\/messages$/, anthropic],
];

// The model and the action come from the path where the dialect puts them there.
export function route(method, path) {
  for (const [verb, pattern, dialect] of ROUTES) {
    const match = verb === method && pattern.exec(path);
    if (match) return { dialect, model: match[1] && decodeURIComponent(match[1]), action: match[2] };
  }
  return null;
}

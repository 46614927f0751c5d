// OpenAI's own library, riding on the fetch that pays. URL is that of the chat completions.
import OpenAI from "openai";
import { fileURLToPath } from "node:url";
import { fetchV2 } from "./fetch_v2.mjs";
import { program } from "./told.mjs";

const PATH = /\/chat\/completions\/?$/;

export function openaiJs(options) {
  const { client: _, fetch, ...rest } = fetchV2(options);
  return {
    ...rest,
    fetch,
    call: async ({ url, body, stream = false, headers }) => {
      const openai = new OpenAI({ baseURL: url.replace(PATH, ""), apiKey: "none", fetch, maxRetries: 0, defaultHeaders: headers });
      const answer = await openai.chat.completions.create({ ...body, stream });
      if (!stream) return { answer };
      const events = [];
      for await (const chunk of answer) events.push(chunk);
      return { events, text: events.map(({ choices }) => choices[0]?.delta?.content ?? "").join("") };
    },
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await program("openai_js", openaiJs);

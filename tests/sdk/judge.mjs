// What the judges in JavaScript share: where the worker is, and how an outcome is told.
import { readFileSync } from "node:fs";

export const run = JSON.parse(readFileSync(process.argv[2], "utf8"));
export const openaiModel = "openai/gpt-5-mini";
export const anthropicModel = "anthropic/claude-haiku-4-5";
export const count = "count to 5";
export const counted = /one two three four five$/;
export const askWeather = "What is the weather in Rome?";

/** `cases` are functions by name. */
export async function judge(name, cases) {
  for (const [word, body] of Object.entries(cases)) {
    const outcome = await body().then(() => "ok", (error) => `${error.name}: ${error.message}`.replace(/[\t\n]/g, " "));
    console.log([name, word, outcome].join("\t"));
  }
}

/** The sandbox cuts the provider's next answer off, and the one that would go on with it. */
export async function breaksNextStream(provider) {
  const behaviour = JSON.stringify({ cut_after: 4, times: 2 });
  const answer = await fetch(`${run.sandbox_url}/control/${provider}`, { method: "PUT", body: behaviour });
  if (!answer.ok) throw new Error(await answer.text());
}

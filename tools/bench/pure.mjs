// The cases of `pure` inside workerd, by the CPU time of its process: a Worker's own clock stands still while it computes.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { median, quantile } from "./figures.mjs";
import { cpu, gateway, serve, stop } from "./machine.mjs";
import { modules } from "../weigh.mjs";

/** A case runs so often that its request takes at least this much CPU. */
const TURN_NS = 60e6;

const worker = (folder, wasm, { config }) => ({
  // The first module is the entry.
  modules: [{ name: "worker.js", bytes: readFileSync(join(folder, "pure/worker.js")) }, ...modules(wasm)],
  compatibilityDate: config.compatibility_date,
  compatibilityFlags: config.compatibility_flags,
  vars: {},
  objects: [],
});

/** Nanoseconds of CPU for one piece of work, over rounds in which each case has its turn: what its runs take, less what none take. */
export async function pure(folder, wasm, platform, rounds) {
  const made = await gateway(platform.workerd, "pure", worker(folder, wasm, platform));
  const running = await serve(made);
  const ask = async (query) => {
    const answer = await fetch(`${made.url}/${query}`);
    const text = await answer.text();
    if (!answer.ok) throw new Error(`The cases failed in workerd: ${answer.status}\n${running.log}`);
    return text;
  };
  const took = async (place, times) => {
    const before = cpu(running.pid);
    await ask(`?case=${place}&times=${times}`);
    return cpu(running.pid) - before;
  };
  const cases = JSON.parse(await ask("")).map((one) => ({ ...one, times: 1, ns: [] }));
  // Twice: by then V8 has optimised what runs often, in all of them.
  for (const [place, one] of [...cases.entries(), ...cases.entries()]) {
    while (await took(place, one.times) < TURN_NS) one.times *= 2;
  }
  for (let round = 0; round < rounds; round++) {
    for (const [place, { times, of, ns }] of cases.entries()) {
      const idle = await took(place, 0);
      ns.push((await took(place, times) - idle) / times / of);
    }
  }
  await stop(running);
  return cases.map(({ name, ns }) => ({ name, ns: median(ns), low: quantile(ns, 0.25), high: quantile(ns, 0.75) }));
}

// `make chaos N=10000 SEED=1`: requests while providers fail at random, and what becomes of them.
import { chaos } from "../tests/runtime/chaos.mjs";

const requests = Number(process.env.N || 10_000), seed = Number(process.env.SEED || 1);
let last = 0;
const line = ({ done, seen, states }) => {
  const counts = Object.entries(seen).map(([kind, count]) => `${count} ${kind}`).join(", ");
  const now = Object.entries(states).map(([name, what]) => `${name.slice(-1)}: ${what}`).join(" | ");
  return `${String(done).padStart(6)} of ${requests}: ${counts}   ${now}`;
};
const show = (state) => {
  if (Date.now() - last < 500 && state.done < requests) return;
  last = Date.now();
  console.log(line(state));
};
try {
  const { seen, ...books } = await chaos({ requests, seed, show });
  console.log(`Every request was answered whole, or refused, or said that it broke: ${JSON.stringify({ ...seen, ...books })}`);
} catch (error) {
  console.error(`SEED=${seed}: ${error.message}`);
  process.exitCode = 1;
}

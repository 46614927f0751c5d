// What a piece of work writes to the databases, in rows.
import assert from "node:assert/strict";
import { start, until } from "./harness.mjs";

/** A worker with a meter at its databases; `vars` as for `start`. */
export const startMetered = (vars) => start({ vars, entry: new URL("metered.js", import.meta.url).pathname });

/** An organisation with budgets on its path; `spend(status)` makes its calls all at once, and each is answered with that status. */
export async function spender(here, name, { limit_usd = "1000", calls }) {
  const own = await here.newOrganization();
  const model = await here.newProvider(own, name);
  for (const scope of ["organization", `api_keys/${own.keyId}`]) {
    const { status } = await here.call("PUT", `/admin/v1/${scope}/budgets/day`, own.adminKey, { limit_usd, mode: "hard" });
    assert.equal(status, 200);
  }
  await here.ask(own.key, { model, max_tokens: 1 }); // the first call of an object makes its tables
  const spend = async (status) => {
    const answers = await Promise.all(Array.from({ length: calls }, (_, place) => here.ask(own.key, { model, stream: place % 2 === 1 })));
    for (const answer of answers) assert.equal(answer.status, status, answer.text ?? JSON.stringify(answer.body));
  };
  return { ...own, name, spend };
}

/** The rows of an organisation's account that `work` wrote, once the journal has everything. */
export async function rowsOf(here, own, work) {
  const { ACCOUNT } = await here.worker.getEnv();
  const atRest = () => until("nothing is held or waits for the journal", async () => {
    const written = await ACCOUNT.getByName(`org:${own.id}`).written();
    return written.waiting === 0 && written;
  }, { ms: 10_000 });
  const before = await atRest();
  await work();
  const after = await atRest();
  return Object.fromEntries(Object.entries(after).map(([name, rows]) => [name, rows - before[name]]));
}

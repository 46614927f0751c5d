// What a piece of work writes to the databases, in rows.
import { start, until } from "./harness.mjs";

/** A worker with a meter at its databases; `vars` as for `start`. */
export const startMetered = (vars) => start({ vars, entry: new URL("metered.js", import.meta.url).pathname });

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

// Rows a call writes, counted by the databases themselves.
import { rowsOf, spender, startMetered } from "../../tests/runtime/rows.mjs";

/** Per call, of so many at once by one organisation with budgets on its path. */
export async function rows(calls) {
  const here = await startMetered();
  try {
    const own = await spender(here, "rows", { calls });
    const { object, left, alarms, journal } = await rowsOf(here, own, () => own.spend(200));
    // What is left is deleted later, a row each.
    return { object: (object + left) / calls, alarms: alarms / calls, journal: journal / calls };
  } finally {
    await here.close();
  }
}

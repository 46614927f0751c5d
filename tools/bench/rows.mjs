// Rows a call writes, counted by the databases themselves.
import { rowsOf, startMetered } from "../../tests/runtime/rows.mjs";

/** Per call, of so many at once by one organisation with a budget on its path. */
export async function rows(calls) {
  const here = await startMetered();
  try {
    const own = await here.newOrganization();
    const model = await here.newProvider(own, "rows");
    const budget = await here.call("PUT", "/admin/v1/organization/budgets/day", own.adminKey, { limit_usd: "1000", mode: "hard" });
    if (budget.status !== 200) throw new Error(`The budget was not taken: ${JSON.stringify(budget.body)}`);
    await here.ask(own.key, { model }); // makes the tables
    const work = async () => {
      const answers = await Promise.all(Array.from({ length: calls }, () => here.ask(own.key, { model })));
      const bad = answers.find(({ status }) => status !== 200);
      if (bad) throw new Error(`A call was answered ${bad.status}: ${JSON.stringify(bad.body)}`);
    };
    const { object, alarms, journal } = await rowsOf(here, own, work);
    return { object: object / calls, alarms: alarms / calls, journal: journal / calls };
  } finally {
    await here.close();
  }
}

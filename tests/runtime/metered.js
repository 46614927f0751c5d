// The worker as it is, with a meter at its databases. What is written is billed by the row, and so is each alarm that is set.
// With LOSE_EVERY=n the journal takes every n-th batch and its answer is lost.
import { AccountObject as Account } from "../../src/entry.js";
export { default, HealthObject } from "../../src/entry.js";

const BOOKINGS = `SELECT count(*) AS rows, count(*) FILTER (WHERE json_type(body) = 'object' AND (
  json_type(body, '$.posted') IS NULL OR json_extract(body, '$.posted.entry.seq') > coalesce(
    (SELECT json_extract(body, '$.journaled') FROM record WHERE kind = 'checkpoint'), 0))) AS waiting FROM booking`;

export class AccountObject extends Account {
  #written = { object: 0, alarms: 0, journal: 0, flushes: 0 };
  #bookings;
  constructor(ctx, env) {
    const { DB, ...rest } = env;
    super(ctx, { ...rest, DB: { prepare: (statement) => this.#journal(DB.prepare(statement), Number(env.LOSE_EVERY)) } });
    this.#meter(ctx.storage);
  }

  /**
   * Rows written since the object was started. `waiting` is how many bookings are held or wait for the journal; `left` are the
   * others, which stay a while to tell that they ended: each is deleted later, another row written.
   */
  written() { return { ...this.#written, ...this.#bookings() }; }

  #meter(storage) {
    const [exec, setAlarm] = [storage.sql.exec.bind(storage.sql), storage.setAlarm.bind(storage)];
    this.#bookings = () => {
      const { waiting, rows } = exec(BOOKINGS).one();
      return { waiting, left: rows - waiting };
    };
    // Only a cursor that was read to its end knows what was written.
    storage.sql.exec = (...statement) => {
      const cursor = exec(...statement);
      const rows = cursor.toArray();
      this.#written.object += cursor.rowsWritten;
      return { toArray: () => rows };
    };
    storage.setAlarm = (at) => {
      this.#written.alarms++;
      return setAlarm(at);
    };
  }

  #journal(statement, losing) {
    return {
      bind: (...values) => ({
        all: async () => {
          const answer = await statement.bind(...values).all();
          this.#written.journal += answer.meta.rows_written;
          if (answer.meta.rows_written && ++this.#written.flushes % losing === 0) throw new Error("the answer is lost");
          return answer;
        },
      }),
    };
  }
}

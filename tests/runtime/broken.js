// The worker as it is, on a platform that fails as it is told: PUT /faults, or the variable FAULTS from the start on.
//   kv       "down" throws, "silent" answers after half a minute, "garbage" holds other bytes
//   account  "overloaded" takes no letter, "down" loses letters, "deaf" takes them and loses its answers
//   letters  which letters that is about, by their first word; times: how many of them
//   journal  "down" throws, "slow" takes three seconds
//   storage  "down": an object's own database throws in the middle of its turn
import Worker, { AccountObject as Account } from "../../src/entry.js";
export { HealthObject } from "../../src/entry.js";

let faults;
/** Letters that accounts were sent since the faults were set. */
let sent = 0;
const wait = (ms) => new Promise((done) => setTimeout(done, ms));

/** Whether a fault strikes now; `times` counts down. */
function strikes(word, about = true) {
  if (!faults[word] || !about || faults.times === 0) return undefined;
  if (faults.times) faults.times--;
  return faults[word];
}

const store = (kv) => ({
  put: (...all) => kv.put(...all),
  async get(...all) {
    switch (strikes("kv")) {
      case "down": throw new Error("KV GET failed: 500");
      case "silent": return wait(30_000);
      case "garbage": return "\u0000 no catalog \uFFFD {";
      default: return kv.get(...all);
    }
  },
});

const accounts = (namespace) => ({
  getByName: (name) => ({
    async call(letter) {
      sent++;
      const text = new TextDecoder().decode(letter.slice(1, 40));
      const fault = strikes("account", !faults.letters || text.startsWith(`{"${faults.letters}"`));
      if (fault === "overloaded") throw Object.assign(new Error("Durable Object is overloaded. Too many requests queued."), { overloaded: true });
      if (fault === "down") throw new Error("Network connection lost.");
      const answer = await namespace.getByName(name).call(letter);
      if (fault === "deaf") throw new Error("Network connection lost.");
      return answer;
    },
  }),
});

const journal = (db) => ({
  prepare: (statement) => ({
    bind: (...values) => ({
      async all() {
        const fault = strikes("journal");
        if (fault === "down") throw new Error("D1_ERROR: Network connection lost.");
        if (fault === "slow") await wait(3_000);
        return db.prepare(statement).bind(...values).all();
      },
    }),
  }),
});

export default class extends Worker {
  constructor(ctx, env) {
    faults ??= JSON.parse(env.FAULTS ?? "{}");
    super(ctx, { ...env, KV: store(env.KV), ACCOUNT: accounts(env.ACCOUNT) });
  }
  async fetch(request) {
    if (new URL(request.url).pathname !== "/faults") return super.fetch(request);
    const told = { sent };
    if (request.method === "PUT") [faults, sent] = [await request.json(), 0];
    return Response.json(told);
  }
}

export class AccountObject extends Account {
  #exec;
  /** How many of its holds are in suspense, as its database tells. */
  suspended() { return this.#exec("SELECT count(*) AS n FROM booking WHERE json_extract(iif(json_type(body) = 'object', body, '{}'), '$.suspense') IS NOT NULL").one().n; }
  constructor(ctx, env) {
    faults ??= JSON.parse(env.FAULTS ?? "{}");
    super(ctx, { ...env, DB: journal(env.DB) });
    const exec = this.#exec = ctx.storage.sql.exec.bind(ctx.storage.sql);
    ctx.storage.sql.exec = (statement, ...values) => {
      if (/^INSERT/.test(statement) && strikes("storage")) throw new Error("SQLITE_IOERR");
      return exec(statement, ...values);
    };
  }
}

// One worker in the real runtime, with a sandbox and an empty database of its own, for a test file.
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { parseEnv } from "node:util";

process.env.WRANGLER_SEND_METRICS = "false";
process.env.CLOUDFLARE_CF_FETCH_ENABLED = "false";
const { createTestHarness } = await import("wrangler");

const root = resolve(import.meta.dirname, "../..");
const operatorToken = "operator-token-of-the-tests";
/** What the worker seals keys with; a test that forges one needs it. */
export const pepper = "5e".repeat(32);

/** Starts the sandbox; its first line of output says where it listens. The caller must kill `child`. */
export async function startSandbox() {
  const child = spawn(process.execPath, [join(root, "tests/sandbox/server.mjs")], {
    env: { ...process.env, SANDBOX_PORT: "0" }, stdio: ["ignore", "pipe", "inherit"],
  });
  process.once("exit", () => child.kill());
  for await (const line of createInterface({ input: child.stdout })) return { child, url: JSON.parse(line).url };
  throw new Error("the sandbox ended before it listened");
}

/** Listens for webhooks until `close()`. `received` are their {path, headers, body}; `answers[path]` is [status, headers, body]. */
export async function startReceiver(answers = {}) {
  const received = [];
  const server = createServer(async (request, response) => {
    const path = request.url.split("?")[0], chunks = await request.toArray();
    received.push({ path, headers: request.headers, body: parsed(Buffer.concat(chunks).toString()) });
    const [status, headers, body] = answers[path] ?? [204];
    response.writeHead(status, headers).end(body);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const close = () => { server.close(); server.closeAllConnections(); };
  return { url: `http://127.0.0.1:${server.address().port}`, received, answers, close };
}

/** Wrangler reads .dev.vars; a test must never spend on a real key that stands there. An empty value counts as none. */
function noRealKeys() {
  const path = join(root, ".dev.vars");
  const names = existsSync(path) ? Object.keys(parseEnv(readFileSync(path, "utf8"))) : [];
  return Object.fromEntries(names.map((name) => [name, ""]));
}

/** The worker's configuration with another module as its entry. */
function configured(entry, folder) {
  const text = readFileSync(join(root, "wrangler.toml"), "utf8");
  const path = join(folder, "wrangler.toml");
  writeFileSync(path, text
    .replace('main = "src/entry.js"', `main = ${JSON.stringify(entry)}`)
    .replace('migrations_dir = "schema"', `migrations_dir = ${JSON.stringify(join(root, "schema"))}`));
  return path;
}

/**
 * Starts it all; the caller must `await close()`. `vars` are variables of the worker, `sandbox: false` leaves the
 * sandbox out, `entry` is a module to stand in for `src/entry.js`. The worker's own calls go out through Node's `fetch`.
 */
export async function start({ vars = {}, sandbox = true, entry } = {}) {
  const beside = sandbox ? await startSandbox() : undefined;
  const folder = entry && mkdtempSync(join(tmpdir(), "megarouter-"));
  const server = createTestHarness({
    root,
    workers: [{
      configPath: entry ? configured(entry, folder) : join(root, "wrangler.toml"),
      vars: {
        PRIVATE_UPSTREAMS: "allow",
        X402_PAY_TO: "0x90F79bf6EB2c4f870365E785982E1f101E93b906",
        ...(beside && { SANDBOX_URL: beside.url }),
      },
      secrets: { ...noRealKeys(), OPERATOR_TOKEN: operatorToken, KEY_PEPPER: pepper, RECEIPT_KEY: "07".repeat(32), ...vars },
    }],
  });
  const close = async () => {
    await server.close();
    beside?.child.kill();
    if (folder) rmSync(folder, { recursive: true });
  };
  try {
    const { url } = await server.listen();
    const worker = server.getWorker("megarouter");
    await worker.applyD1Migrations("DB");
    return {
      server, worker, url, sandboxUrl: beside?.url, operatorToken, fetch: server.fetch, close,
      ...planes(url, operatorToken, beside?.url),
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/**
 * A worker as `make run` starts it, with a state of its own. Its calls go out through the runtime's own network: only
 * there a provider refuses a connection, and only there it sees a hang-up. Given a `state` it starts from that and leaves
 * it behind; given a sandbox's address as `sandboxUrl` it starts none.
 */
export async function startInstance({ vars = {}, state, sandboxUrl } = {}) {
  const folder = state ?? mkdtempSync(join(tmpdir(), "megarouter-"));
  rmSync(join(folder, "run.json"), { force: true }); // one that was killed left it
  const child = spawn(process.execPath, [join(root, "tools/run.mjs")], {
    env: {
      ...process.env, PORT: "0", STATE_DIR: folder, OUTBOX_FLUSH_MS: "50",
      ...(sandboxUrl && { SANDBOX: "off" }), ...vars,
    },
    stdio: ["ignore", "ignore", "inherit"],
  });
  const ended = once(child, "exit");
  process.once("exit", () => child.kill());
  const close = async () => {
    child.kill();
    await ended;
    if (!state) rmSync(folder, { recursive: true, force: true });
  };
  /** As when the power fails: nothing of it gets to do anything more, the runtime first. */
  const crash = async () => {
    for (const pid of offspring(child.pid)) {
      try { process.kill(pid, "SIGKILL"); } catch { /* it went with another */ }
    }
    await ended;
  };
  try {
    const run = await until("make run is ready", () => {
      if (child.exitCode !== null) throw new Error(`it ended with code ${child.exitCode}`);
      return existsSync(join(folder, "run.json")) && JSON.parse(readFileSync(join(folder, "run.json"), "utf8"));
    }, { ms: 60_000 });
    return {
      url: run.base_url, own: { id: run.organization_id, adminKey: run.admin_key, key: run.inference_key }, close, crash,
      ...planes(run.base_url, run.operator_token, sandboxUrl ?? run.sandbox_url),
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** A process and everything it started, the youngest first: the runtime before those that would notice its end. */
function offspring(pid) {
  const all = execFileSync("ps", ["-A", "-o", "pid=,ppid="], { encoding: "utf8" }).trim().split("\n").map((line) => line.trim().split(/\s+/).map(Number));
  const below = (parent) => [...all.filter(([, above]) => above === parent).flatMap(([child]) => below(child)), parent];
  return below(pid);
}

/** What tests do with the worker at `url`; the sandbox at `sandboxUrl` plays its providers. */
function planes(url, operator, sandboxUrl) {
  const call = over(url);
  const make = maker(call);
  return {
    call, ask: asker(call), newOrganization: organizer(make, operator), newSeat: seater(make),
    newProvider: provider(call, sandboxUrl), sandbox: sandboxOf(sandboxUrl),
  };
}

/**
 * `call("PUT", "/admin/v1/…", token, body)` answers {status, headers, body}, the body parsed if it is JSON. A string is
 * sent as it stands. A stream's answer has `text`, `events` ([{event?, data}]) and `comment`, its last word, as well.
 * It goes over the network: wrangler's own `fetch` costs the test's process more than the worker's whole answer.
 */
const over = (url) => async (method, path, token, body, more = {}) => {
  const headers = { "content-type": "application/json", ...(token && { authorization: `Bearer ${token}` }), ...more };
  const sent = body === undefined || typeof body === "string" ? body : JSON.stringify(body);
  const answer = await fetch(new URL(path, url), { method, headers, body: sent });
  const text = await answer.text();
  const { status } = answer;
  if (answer.headers.get("content-type")?.startsWith("text/event-stream")) {
    return { status, headers: answer.headers, text, ...readStream(text) };
  }
  return { status, headers: answer.headers, body: parsed(text) };
};

function parsed(text) {
  try { return JSON.parse(text); } catch { return text; } // not every body is JSON
}

/** The frames of a stream. `comment` is there only if nothing but a blank line follows it. */
export function readStream(raw) {
  const events = [], text = raw.replaceAll("\r\n", "\n");
  for (const frame of text.split("\n\n")) {
    const { event, data } = Object.fromEntries(frame.split("\n").map((line) => /^([^:]*):? ?(.*)$/.exec(line).slice(1)));
    if (data !== undefined) events.push({ ...(event && { event }), data: parsed(data) });
  }
  const last = text.lastIndexOf("\n: megarouter ");
  const comment = last < 0 ? undefined : /^\n: megarouter (.*)\n\n$/.exec(text.slice(last))?.[1];
  return { events, comment: comment && JSON.parse(comment) };
}

/** The text of a streamed chat completion. */
export const textOf = (events) => events.map(({ data }) => data.choices?.[0]?.delta?.content ?? "").join("");

/** Asks a model: `ask(key, {model, messages, …})`. */
const asker = (call) => (key, body, { path = "/v1/chat/completions", headers } = {}) =>
  call("POST", path, key, { messages: [{ role: "user", content: "count to 5" }], ...body }, headers);

/** A model so dear that a few calls fill a small budget: a tenth of a cent for each token of an answer. */
export const dear = { id: "m", input_usd_per_mtok: "0", output_usd_per_mtok: "1000" };

/** Gives an organisation a provider that the sandbox plays, with one model `m` at 1 and 2 dollars per million tokens. */
const provider = (call, sandboxUrl) => async (own, id, members = {}) => {
  const { status, body } = await call("PUT", `/admin/v1/providers/${id}`, own.adminKey, {
    dialect: "openai_chat", base_url: `${sandboxUrl}/${id}`, credential: "any",
    models: [{ id: "m", input_usd_per_mtok: "1", output_usd_per_mtok: "2" }], ...members,
  });
  if (status !== 200) throw new Error(`the provider was not taken: ${JSON.stringify(body)}`);
  return `${id}/m`;
};

/** `set(name, behaviour)` and `seen(name)` of a provider in the sandbox. */
const sandboxOf = (url) => ({
  async set(name, behaviour) {
    const answer = await fetch(`${url}/control/${name}`, { method: "PUT", body: JSON.stringify(behaviour) });
    if (!answer.ok) throw new Error(await answer.text());
  },
  seen: async (name) => (await fetch(`${url}/control/${name}`)).json(),
});

/** An answer's status and the code of its refusal. */
export const code = ({ status, body }) => [status, body.error?.code];

/** Waits until `look` answers something true, and answers it. What it threw last is what it fails with. */
export async function until(what, look, { ms = 3000 } = {}) {
  let why;
  for (const end = Date.now() + ms; Date.now() < end;) {
    try {
      const seen = await look();
      if (seen) return seen;
      why = undefined;
    } catch (error) { why = error; }
    await new Promise((done) => setTimeout(done, 20));
  }
  throw new Error(`not within ${ms} ms: ${what}`, { cause: why });
}

/** Makes a thing by POST, and answers it. */
const maker = (call) => async (path, token, body) => {
  const { status, body: made } = await call("POST", path, token, body);
  if (status !== 201) throw new Error(`POST ${path} answered ${status}: ${JSON.stringify(made)}`);
  return made;
};

/** A new organisation with credit and one inference key; `key` holds more members of the key's request. */
const organizer = (make, operator) => async ({ name = "Test", credit_usd = "1000", key = {} } = {}) => {
  const { organization, admin_key: admin } = await make("/platform/v1/organizations", operator, { name, timezone: "UTC", credit_usd });
  const { id: keyId, secret } = await make("/admin/v1/api_keys", admin.secret, { name: "test", ...key });
  return { id: organization.id, adminKey: admin.secret, key: secret, keyId };
};

/** A member of a group in a group, with a key. */
const seater = (make) => async (own, name) => {
  const made = (path, body) => make(`/admin/v1/${path}`, own.adminKey, body);
  const outer = await made("groups", { name: `${name} outer`, cost_center: "CC-1" });
  const inner = await made("groups", { name: `${name} inner`, parent_id: outer.id });
  const person = await made("members", { name, group_id: inner.id, email: `${name}@acme.test` });
  const key = await made("api_keys", { name, owner_member_id: person.id });
  return { outer, inner, person, key };
};

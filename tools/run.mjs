// `make run`: the sandbox and the worker, with everything they need, until Ctrl-C.
import { spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { createWriteStream, existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join, resolve } from "node:path";
import { parseEnv } from "node:util";

const root = resolve(import.meta.dirname, "..");
const state = resolve(process.env.STATE_DIR || ".state");
let port = Number(process.env.PORT || 8787); // 0 becomes a free one
let base; // where the worker listens
const runFile = join(state, "run.json");
const children = new Map(); // name -> process
let ending = false;

// ---- files -----------------------------------------------------------------------------------------------------

const read = (name) => (existsSync(join(state, name)) ? JSON.parse(readFileSync(join(state, name), "utf8")) : {});

/** Only the owner may read it, and no reader ever sees half of it. */
function write(name, text) {
  const path = join(state, name);
  writeFileSync(`${path}.new`, text, { mode: 0o600 });
  renameSync(`${path}.new`, path);
  return path;
}

const writeJson = (name, value) => write(name, `${JSON.stringify(value, null, 2)}\n`);

// ---- processes -------------------------------------------------------------------------------------------------

class Failure extends Error {}

/** Starts a program in a process group of its own, so that whatever it starts in turn can be ended with it. */
function start(name, args, env = {}) {
  if (ending) throw new Failure("Stopped.");
  const log = createWriteStream(join(state, `${name}.log`), { flags: "w", mode: 0o600 });
  const child = spawn(process.execPath, args, {
    cwd: root, detached: true, stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, ...env },
  });
  child.stdout.pipe(log, { end: false });
  child.stderr.pipe(log, { end: false });
  child.ended = new Promise((done) => child.once("close", (code, signal) => log.end(() => done(signal ?? `code ${code}`))));
  children.set(name, child);
  return child;
}

/** A program that must not end while we run. */
function serve(name, args, env) {
  const child = start(name, args, env);
  child.ended.then((how) => ending || end(1, `The ${name} has ended (${how}).\n${tail(name)}`));
  return child;
}

/** A program that must end well before we go on. */
async function finish(name, args, env) {
  const how = await start(name, args, env).ended;
  children.delete(name);
  if (how !== "code 0" && !ending) throw new Failure(`${name} failed (${how}).\n${tail(name)}`);
}

function tail(name) {
  const path = join(state, `${name}.log`);
  const lines = readFileSync(path, "utf8").trimEnd().split("\n").slice(-25);
  return `Last lines of ${path}:\n${lines.map((line) => `  ${line}`).join("\n")}`;
}

function signal(child, name) {
  try { process.kill(-child.pid, name); } catch { /* the whole group is gone */ }
}

/** Ends everything that was started: asks first, and after five seconds asks no more. */
async function end(code, message) {
  if (ending) return;
  ending = true;
  if (message) console.error(`\n${message}`);
  const all = [...children.values()];
  for (const child of all) signal(child, "SIGTERM");
  const late = new Promise((done) => setTimeout(done, 5000).unref());
  await Promise.race([Promise.all(all.map((child) => child.ended)), late]);
  for (const child of all) signal(child, "SIGKILL");
  rmSync(runFile, { force: true });
  process.exit(code);
}

/** The port if it is free, a free one if 0 was asked for. */
const freePort = (wanted = 0) => new Promise((done, fail) => {
  const probe = createServer().once("error", fail);
  probe.listen(wanted, "127.0.0.1", () => { const { port } = probe.address(); probe.close(() => done(port)); });
});

// ---- sandbox, database, worker ---------------------------------------------------------------------------------

/** The providers' stand-in. Its first line of output is {"url"}. */
function startSandbox() {
  const script = join(root, "tests/sandbox/server.mjs");
  if (process.env.SANDBOX === "off") return "";
  if (!existsSync(script)) throw new Failure("tests/sandbox/server.mjs is missing; SANDBOX=off runs without it.");
  const child = serve("sandbox", [script], { SANDBOX_PORT: "0" });
  return new Promise((done) => {
    let text = "";
    child.stdout.on("data", (chunk) => {
      text += chunk;
      if (text.includes("\n")) done(JSON.parse(text.slice(0, text.indexOf("\n"))).url);
    });
  });
}

const wranglerEnv = {
  WRANGLER_SEND_METRICS: "false",
  WRANGLER_HIDE_BANNER: "true", // the banner looks for updates
  CLOUDFLARE_CF_FETCH_ENABLED: "false", // nor is the caller's place asked of the network
  WRANGLER_REGISTRY_PATH: join(state, "registry"), // where workers find each other: instances must not
  WRANGLER_LOG_PATH: join(state, "wrangler-logs"),
  CI: "true", // asks no questions
};

const wrangler = (...args) => [join(root, "node_modules/wrangler/bin/wrangler.js"), ...args, "--persist-to", state];

/** Brings the ledger's tables up to date. Wrangler takes two seconds to find nothing to do, so we look first. */
async function migrate() {
  const files = readdirSync(join(root, "schema")).filter((name) => name.endsWith(".sql")).sort();
  const hash = createHash("sha256");
  for (const name of files) hash.update(name).update(readFileSync(join(root, "schema", name)));
  const schema = hash.digest("hex");
  if (files.length === 0 || read("schema.json").sha256 === schema) return;
  await finish("migrations", wrangler("d1", "migrations", "apply", "DB", "--local"), wranglerEnv);
  writeJson("schema.json", { sha256: schema });
}

/** Secrets last as long as the state: keys are stored only as hashes made with KEY_PEPPER. */
function secrets() {
  const kept = read("secrets.json");
  for (const name of ["OPERATOR_TOKEN", "KEY_PEPPER", "RECEIPT_KEY"]) kept[name] ??= randomBytes(32).toString("hex");
  writeJson("secrets.json", kept);
  return kept;
}

const OPTIONS = [
  "OPERATOR_TOKEN", "HOLD_SETTLE_BY_S", "OUTBOX_FLUSH_MS", "SNAPSHOT_TTL_S",
  "X402_NETWORK", "X402_PAY_TO", "X402_FACILITATORS", "X402_RPC_URL", "X402_CLAIM_AFTER_S", "X402_REFUND_KEY", "X402_AUTHORIZER_KEY",
];

/** Accounts of every local test chain: everybody has their keys, so that they go together, and never with an address of somebody's own. */
const TEST_MERCHANT = {
  X402_PAY_TO: "0x90F79bf6EB2c4f870365E785982E1f101E93b906",
  X402_AUTHORIZER_KEY: "0x8b3a350cf5c34c9194ca85829a2df0ec3153be0318b5e2d3348e872092edffba",
};

/** What the worker's environment adds to wrangler.toml; later lines win. */
function variables(sandboxUrl) {
  const devVars = join(root, ".dev.vars");
  const given = OPTIONS.filter((name) => process.env[name]).map((name) => [name, process.env[name]]);
  const kept = existsSync(devVars) ? parseEnv(readFileSync(devVars, "utf8")) : {};
  return {
    ...(process.env.X402_PAY_TO || kept.X402_PAY_TO ? {} : TEST_MERCHANT),
    PRIVATE_UPSTREAMS: "allow", // the sandbox and other servers on this machine
    ...secrets(),
    ...kept,
    ...(sandboxUrl ? { SANDBOX_URL: sandboxUrl } : {}),
    ...Object.fromEntries(given),
  };
}

/** A line of an env file. Wrangler expands `$NAME` even inside quotes. */
function line([name, value]) {
  const quote = ["'", '"', "`"].find((mark) => !value.includes(mark));
  if (!quote) throw new Failure(`The value of ${name} holds all three kinds of quotes; that cannot be passed on.`);
  return `${name}=${quote}${value.replaceAll("$", "\\$")}${quote}\n`;
}

async function startWorker(vars) {
  // By file, not by argument: arguments show in `ps`.
  const envFile = write("worker.env", Object.entries(vars).map(line).join(""));
  serve("worker", wrangler(
    "dev", "--local", "--ip", "127.0.0.1", "--port", String(port), "--inspector-port", String(await freePort()),
    "--env-file", envFile, "--show-interactive-dev-session", "false",
  ), wranglerEnv);
  for (const patience = Date.now() + 60_000; Date.now() < patience && !ending;) {
    const answer = await fetch(`${base}/healthz`).catch(() => undefined);
    if (answer?.status === 200) return;
    await new Promise((done) => setTimeout(done, 100));
  }
  throw new Failure(`The worker does not answer GET ${base}/healthz.\n${tail("worker")}`);
}

// ---- what a new installation needs: prices, an organisation, keys ------------------------------------------------

async function call(method, path, token, body) {
  const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
  const answer = await fetch(base + path, { method, headers, body: typeof body === "object" ? JSON.stringify(body) : body });
  const text = await answer.text();
  let value;
  try { value = JSON.parse(text); } catch { value = {}; }
  return { status: answer.status, value, text };
}

async function must(method, path, token, body) {
  const { status, value, text } = await call(method, path, token, body);
  if (status < 200 || status > 299) throw new Failure(`${method} ${path} answered ${status}: ${text}\n${tail("worker")}`);
  return value;
}

/** The worker carries a catalog for emergencies; the one in schema/ is what it should know. */
async function publishCatalog(operator) {
  const { source } = await must("GET", "/platform/v1/catalog", operator);
  if (source !== "bundled") return;
  await must("PUT", "/platform/v1/catalog", operator, readFileSync(join(root, "schema/catalog.json"), "utf8"));
}

/** The organisation and keys of the last start if they still hold, else new ones. */
async function keys(operator) {
  const kept = read("keys.json");
  if (kept.inference_key) {
    const { status, text } = await call("GET", "/admin/v1/wallet", kept.admin_key);
    if (status === 200) return kept;
    if (status !== 401) throw new Failure(`GET /admin/v1/wallet answered ${status}: ${text}\n${tail("worker")}`);
  }
  const made = await must("POST", "/platform/v1/organizations", operator, { name: "Local", timezone: "UTC", credit_usd: "1000" });
  const key = await must("POST", "/admin/v1/api_keys", made.admin_key.secret, { name: "local" });
  const fresh = {
    organization_id: made.organization.id, admin_key: made.admin_key.secret, inference_key: key.secret, inference_key_id: key.id,
  };
  writeJson("keys.json", fresh);
  return fresh;
}

// ---- the whole ---------------------------------------------------------------------------------------------------

function greet(own, sandboxUrl) {
  const json = `-H 'content-type: application/json'`;
  const admin = `-H 'authorization: Bearer ${own.admin_key}'`;
  const key = `-H 'authorization: Bearer ${own.inference_key}'`;
  const budget = `{"limit_usd":"5","mode":"hard"}`;
  const rows = [
    ["base URL", `${base}/v1`], ["inference key", own.inference_key], ["admin key", own.admin_key],
    ["sandbox", sandboxUrl || "off"], ["state and logs", state],
  ];
  console.log(`\nMegaRouter is ready.\n\n${rows.map(([name, value]) => `  ${name.padEnd(15)} ${value}`).join("\n")}

For the lines of the README:
  export KEY=${own.inference_key} ADMIN=${own.admin_key} SANDBOX=${sandboxUrl || "off"}

Ask; the router picks the model:
  curl -N ${base}/v1/chat/completions ${key} ${json} \\
    -d '{"model":"auto","stream":true,"messages":[{"role":"user","content":"Hello!"}]}'

See what it cost (a second later):
  curl ${base}/admin/v1/ledger/entries ${admin}

Let the key spend at most five dollars a day:
  curl -X PUT ${base}/admin/v1/api_keys/${own.inference_key_id}/budgets/day ${admin} ${json} -d '${budget}'
${sandboxUrl && `
Name a route, take its first provider down, see the second answer, and bring the first back:
  curl -X PUT ${base}/admin/v1/routes/two ${admin} ${json} \\
    -d '{"targets":[{"provider":"openai","model":"gpt-5.4-mini"},{"provider":"anthropic","model":"claude-haiku-4-5"}]}'
  curl -X PUT ${sandboxUrl}/control/openai ${json} -d '{"down":true}'
  curl -i ${base}/v1/chat/completions ${key} ${json} \\
    -d '{"model":"two","messages":[{"role":"user","content":"Hello!"}]}'
  curl -X DELETE ${sandboxUrl}/control/openai
`}
Ctrl-C ends it.`);
}

async function main() {
  mkdirSync(state, { recursive: true, mode: 0o700 });
  const before = read("run.json");
  if (before.base_url && await fetch(`${before.base_url}/healthz`).then(() => true, () => false)) {
    console.error(`${state} is in use by ${before.base_url} (process ${before.pid}). Set STATE_DIR to another folder, or stop that one.`);
    process.exit(1);
  }
  rmSync(runFile, { force: true });
  port = await freePort(port).catch((error) => {
    throw new Failure(`Port ${port} cannot be used (${error.code}). For another one: PORT=8790 STATE_DIR=.state-8790 make run`);
  });
  base = `http://127.0.0.1:${port}`;
  const [sandboxUrl] = await Promise.all([startSandbox(), migrate()]);
  const vars = variables(sandboxUrl);
  await startWorker(vars);
  await publishCatalog(vars.OPERATOR_TOKEN);
  const own = await keys(vars.OPERATOR_TOKEN);
  writeJson("run.json", {
    base_url: base, inference_key: own.inference_key, admin_key: own.admin_key, operator_token: vars.OPERATOR_TOKEN,
    sandbox_url: sandboxUrl || null, organization_id: own.organization_id, pid: process.pid,
  });
  greet(own, sandboxUrl);
}

for (const name of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(name, () => end(0));
// When make is killed outright nobody tells us; then this process changes parents.
const parent = process.ppid;
setInterval(() => process.ppid === parent || end(1), 1000).unref();

main().catch((error) => end(1, error instanceof Failure ? error.message : error.stack));

// What is measured: the floors, and the product set up as its own API sets it up.
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { gateway, serve, stop } from "./machine.mjs";
import { modules } from "../weigh.mjs";

const CHAT = "/v1/chat/completions";

/** The runtime and the product's settings, as wrangler reads them. */
export async function platform(root) {
  const require = createRequire(join(root, "package.json"));
  const { unstable_readConfig: readConfig } = await import(require.resolve("wrangler"));
  const { default: workerd, version } = require("workerd");
  return { workerd, version, config: readConfig({ config: join(root, "wrangler.toml") }, { hideWarnings: true }) };
}

const floorWorker = (folder, { config }, provider) => ({
  modules: [{ name: "worker.js", bytes: readFileSync(join(folder, "floor/worker.js")) }],
  compatibilityDate: config.compatibility_date,
  compatibilityFlags: [],
  vars: { PROVIDER: provider.url },
  objects: [{ name: "LEDGER", class_name: "Ledger" }],
});

/** No KV and no D1: the worker serves its bundled catalog, and its outbox waits. */
const productWorker = (upload, { config }, secrets) => ({
  // The first module is the entry.
  modules: modules(upload).sort((a, b) => Number(b.name === "entry.js") - Number(a.name === "entry.js")),
  compatibilityDate: config.compatibility_date,
  compatibilityFlags: config.compatibility_flags,
  // Nobody listens at the sandbox: prices are asked for, and nothing is called there.
  vars: {
    ...config.vars, ...secrets, PRIVATE_UPSTREAMS: "allow", SANDBOX_URL: "http://127.0.0.1:9", X402_PAY_TO: `0x${"90".repeat(20)}`,
  },
  objects: config.durable_objects.bindings,
});

/** The product with `account.js` around it. */
function accountWorker(folder, product, vars = {}) {
  const around = { name: "account.js", bytes: readFileSync(join(folder, "account.js")) };
  return { ...product, vars: { ...product.vars, ...vars }, modules: [around, ...product.modules] };
}

async function must(base, method, path, token, body) {
  const answer = await fetch(base + path, {
    method, headers: { authorization: `Bearer ${token}`, "content-type": "application/json" }, body: JSON.stringify(body),
  });
  const text = await answer.text();
  let value;
  try { value = JSON.parse(text); } catch { /* told below */ }
  if (!answer.ok || !value) throw new Error(`The product answered ${method} ${path} with ${answer.status}: ${text.slice(0, 500)}`);
  return value;
}

/** An organisation with more money than a bench can spend, a key, and the provider as one of its own. */
async function setUp(base, operator, provider) {
  const made = await must(base, "POST", "/platform/v1/organizations", operator, { name: "bench", credit_usd: "1000000" });
  const admin = made.admin_key?.secret;
  if (!admin) throw new Error("The product made no organisation: is this upload the whole worker?");
  await must(base, "PUT", "/admin/v1/providers/mock", admin, {
    dialect: "openai_chat", base_url: `${provider.url}/v1`, credential: "k", abort_stops_billing: true,
    models: [{ id: "mock", input_usd_per_mtok: "1", output_usd_per_mtok: "2" }],
  });
  const { secret } = await must(base, "POST", "/admin/v1/api_keys", admin, { name: "bench" });
  return secret;
}

/** The targets by name, all running, and for the starts the commands that run them. */
export async function targets(folder, upload, platform, provider) {
  const { workerd } = platform;
  const floor = await gateway(workerd, "floor", floorWorker(folder, platform, provider));
  const secrets = { OPERATOR_TOKEN: randomBytes(32).toString("hex"), KEY_PEPPER: randomBytes(32).toString("hex") };
  const worker = productWorker(upload, platform, secrets);
  const fresh = await gateway(workerd, "product", worker);
  const first = await serve(fresh);
  const key = await setUp(fresh.url, secrets.OPERATOR_TOKEN, provider);
  await stop(first);
  const again = await gateway(workerd, "product-start", worker, fresh.state);
  const account = await gateway(workerd, "account", accountWorker(folder, worker), fresh.state);
  const remembered = await gateway(workerd, "remembered", accountWorker(folder, worker, { MEMORY: "yes" }), fresh.state);
  const floorAgain = await gateway(workerd, "floor-start", floorWorker(folder, platform, provider));

  const [{ pid: floorPid }, { pid }] = [await serve(floor), await serve(fresh)];
  const [{ pid: accountPid }, { pid: rememberedPid }] = [await serve(account), await serve(remembered)];
  const raw = { url: `${floor.url}/raw${CHAT}`, pid: floorPid };
  const product = { url: fresh.url + CHAT, pid, key, model: "mock/mock" };
  return {
    direct: { url: provider.url + CHAT, pid: provider.pid },
    "js-raw": raw,
    "js-raw again": raw,
    "js-dorpc": { ...raw, url: `${floor.url}/dorpc${CHAT}` },
    "js-teepipe": { ...raw, url: `${floor.url}/teepipe${CHAT}` },
    product,
    account: { ...product, url: account.url + CHAT, pid: accountPid },
    remembered: { ...product, url: remembered.url + CHAT, pid: rememberedPid },
    native: product,
    pumped: { ...product, usage: "no" },
    "floor start": { url: `${floorAgain.url}/raw${CHAT}`, command: floorAgain.command },
    "product start": { ...product, url: again.url + CHAT, pid: undefined, command: again.command },
  };
}

// One worker in the real runtime, with a sandbox and an empty database of its own, for a test file.
import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { parseEnv } from "node:util";

process.env.WRANGLER_SEND_METRICS = "false";
process.env.CLOUDFLARE_CF_FETCH_ENABLED = "false";
const { createTestHarness } = await import("wrangler");

const root = resolve(import.meta.dirname, "../..");
const operatorToken = "operator-token-of-the-tests";

/** Starts the sandbox; its first line of output says where it listens. */
async function startSandbox() {
  const child = spawn(process.execPath, [join(root, "tests/sandbox/server.mjs")], {
    env: { ...process.env, SANDBOX_PORT: "0" }, stdio: ["ignore", "pipe", "inherit"],
  });
  process.once("exit", () => child.kill());
  for await (const line of createInterface({ input: child.stdout })) return { child, url: JSON.parse(line).url };
  throw new Error("the sandbox ended before it listened");
}

/** Wrangler reads .dev.vars; a test must never spend on a real key that stands there. An empty value counts as none. */
function noRealKeys() {
  const path = join(root, ".dev.vars");
  const names = existsSync(path) ? Object.keys(parseEnv(readFileSync(path, "utf8"))) : [];
  return Object.fromEntries(names.map((name) => [name, ""]));
}

/**
 * Starts it all; the caller must `await close()`. `vars` are variables of the worker, `sandbox: false` leaves the
 * sandbox out. The worker's own calls go out through Node's `fetch`.
 */
export async function start({ vars = {}, sandbox = true } = {}) {
  const beside = sandbox ? await startSandbox() : undefined;
  const server = createTestHarness({
    root,
    workers: [{
      configPath: join(root, "wrangler.toml"),
      vars: {
        PRIVATE_UPSTREAMS: "allow",
        X402_PAY_TO: "0x90F79bf6EB2c4f870365E785982E1f101E93b906",
        ...(beside && { SANDBOX_URL: beside.url }),
      },
      secrets: { ...noRealKeys(), OPERATOR_TOKEN: operatorToken, KEY_PEPPER: "5e".repeat(32), ...vars },
    }],
  });
  const close = async () => {
    await server.close();
    beside?.child.kill();
  };
  try {
    const { url } = await server.listen();
    const worker = server.getWorker("megarouter");
    await worker.applyD1Migrations("DB");
    const call = caller(server);
    return {
      server, worker, url, sandboxUrl: beside?.url, operatorToken,
      fetch: server.fetch, call, newOrganization: organizer(call), close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** `call("PUT", "/admin/v1/…", token, body)` answers {status, headers, body}, the body parsed if it is JSON. */
const caller = (server) => async (method, path, token, body) => {
  const headers = { "content-type": "application/json", ...(token && { authorization: `Bearer ${token}` }) };
  const answer = await server.fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  const text = await answer.text();
  let value = text;
  try { value = JSON.parse(text); } catch { /* not every body is JSON */ }
  return { status: answer.status, headers: answer.headers, body: value };
};

/** A new organisation with credit and one inference key; `key` holds more members of the key's request. */
const organizer = (call) => async ({ name = "Test", credit_usd = "1000", key = {} } = {}) => {
  const must = async (...request) => {
    const { status, body } = await call(...request);
    if (status !== 201) throw new Error(`${request[0]} ${request[1]} answered ${status}: ${JSON.stringify(body)}`);
    return body;
  };
  const { organization, admin_key: admin } = await must("POST", "/platform/v1/organizations", operatorToken, {
    name, timezone: "UTC", credit_usd,
  });
  const { id: keyId, secret } = await must("POST", "/admin/v1/api_keys", admin.secret, { name: "test", ...key });
  return { id: organization.id, adminKey: admin.secret, key: secret, keyId };
};

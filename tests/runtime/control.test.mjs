// What admins and the operator do: organisations, catalog, prices, own providers and named routes.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { readFileSync } from "node:fs";
import { entryOf } from "./books.mjs";
import { start, until } from "./harness.mjs";

const catalogText = readFileSync(new URL("../../schema/catalog.json", import.meta.url), "utf8");
const openai = "openai/gpt-5-mini";

let here, own, operator;
before(async () => {
  here = await start({ vars: { SNAPSHOT_TTL_S: "1" } });
  own = await here.newOrganization();
  operator = (method, path, body) => here.call(method, `/platform/v1${path}`, here.operatorToken, body);
});
after(() => here.close());

const admin = (method, path, body) => here.call(method, `/admin/v1${path}`, own.adminKey, body);
const ask = (body) => here.ask(own.key, body);

/** Refused with 400, naming the parameter if one is given. */
function refused(answer, param) {
  assert.equal(answer.status, 400, JSON.stringify(answer.body));
  assert.equal(answer.body.error.type, "invalid_request_error");
  if (param) assert.equal(answer.body.error.param, param, JSON.stringify(answer.body));
}

/** A list of ours, whole. */
function listOf(answer) {
  assert.equal(answer.status, 200, JSON.stringify(answer.body));
  const { object, data, first_id, last_id, has_more, ...rest } = answer.body;
  assert.deepEqual([object, rest, has_more], ["list", {}, false]);
  assert.deepEqual([first_id, last_id], [data.at(0)?.id ?? null, data.at(-1)?.id ?? null]);
  return data;
}

// ---- the operator ----------------------------------------------------------------------------------------------------

test("the operator's plane opens to the operator's token alone", async () => {
  for (const token of [undefined, "wrong", `${here.operatorToken}x`, own.key, own.adminKey]) {
    for (const [method, path, body] of [
      ["GET", "/catalog"], ["PUT", "/catalog", {}], ["POST", "/organizations", { name: "x" }],
      ["POST", `/organizations/${own.id}/credits`, {}],
    ]) {
      assert.equal((await here.call(method, `/platform/v1${path}`, token, body)).status, 401, `${method} ${path} with ${token}`);
    }
  }
});

test("an organisation is made with its first admin key", async () => {
  const { status, body } = await operator("POST", "/organizations", { name: "Acme", credit_usd: "1.5" });
  assert.equal(status, 201);
  assert.match(body.organization.id, /^org_/);
  assert.deepEqual([body.organization.name, body.organization.timezone], ["Acme", "UTC"]);
  assert.match(body.admin_key.id, /^key_/);
  const wallet = await here.call("GET", "/admin/v1/wallet", body.admin_key.secret);
  assert.deepEqual([wallet.status, wallet.body.credits_usd, wallet.body.available_usd], [200, "1.5", "1.5"]);
  for (const bad of [{}, { name: "" }, { name: "x", credit: "1" }, { name: "x", credit_usd: "-1" }, { name: "x", credit_usd: "x" }, "{"]) {
    refused(await operator("POST", "/organizations", bad));
  }
  const nobody = `/organizations/org_${"0".repeat(26)}/credits`;
  assert.equal((await operator("POST", nobody, { amount_usd: "1", reason: "x" })).status, 404);
  refused(await operator("POST", `/organizations/${own.id}/credits`, { amount_usd: "1" }));
});

test("the catalog is validated before it is taken", async () => {
  const at = await operator("GET", "/catalog");
  assert.equal(at.status, 200);
  assert.equal(at.body.source, "bundled");
  const good = JSON.parse(catalogText);
  const changed = (change) => {
    const catalog = structuredClone(good);
    change(catalog);
    return catalog;
  };
  const bad = [
    "{", [], {}, changed((catalog) => { catalog.version = 99; }), changed((catalog) => { catalog.nonsense = 1; }),
    changed(({ models }) => { models[0].provider = "nobody"; }), changed(({ models }) => { models[0].input_usd_per_mtok = "-1"; }),
    changed(({ models }) => { delete models[0].output_usd_per_mtok; }), changed(({ models }) => { models.push(models[0]); }),
  ];
  for (const catalog of bad) {
    const what = JSON.stringify(catalog).slice(0, 60);
    for (const answer of [await operator("POST", "/catalog/validate", catalog), await operator("PUT", "/catalog", catalog)]) {
      assert.equal(answer.status, 400, what);
      assert.equal(answer.body.error.code, "invalid_catalog", what);
    }
  }
  assert.deepEqual((await operator("GET", "/catalog")).body, at.body, "nothing of it was taken");
  const valid = await operator("POST", "/catalog/validate", catalogText);
  assert.deepEqual([valid.status, valid.body.models], [200, good.models.length]);
});

test("a catalog with a price that jumps is taken only if that is meant", async () => {
  const catalog = JSON.parse(catalogText);
  const row = catalog.models.find(({ provider, id }) => `${provider}/${id}` === openai);
  row.output_usd_per_mtok = String(Number(row.output_usd_per_mtok) * 6);
  const text = JSON.stringify(catalog);
  const before = await ask({ model: openai, max_tokens: 64 });
  const answer = await operator("PUT", "/catalog", text);
  refused(answer);
  assert.equal(answer.body.error.code, "price_jump");
  assert.match(answer.body.error.message, /gpt-5-mini/);

  const forced = await operator("PUT", "/catalog?force=true", text);
  assert.deepEqual([forced.status, forced.body.source], [200, "kv"]);
  const dearer = await ask({ model: openai, max_tokens: 64 });
  assert.ok(Number(dearer.body.usage.cost_usd) > 4 * Number(before.body.usage.cost_usd), "the next call is charged by it");

  const back = await operator("PUT", "/catalog?force=true", catalogText);
  assert.equal(back.status, 200);
  const again = await ask({ model: openai, max_tokens: 64 });
  assert.equal(again.body.usage.cost_usd, before.body.usage.cost_usd);
  const entry = await entryOf(here.call, own.adminKey, again.headers.get("x-request-id"));
  assert.equal(entry.call.catalog_id, back.body.id, "the entry names the prices it was made with");
});

test("prices edited in the key-value store take effect, and slips there stop nothing", async () => {
  const { KV } = await here.worker.getEnv();
  const pointer = await KV.get("catalog/current");
  const charged = async () => {
    const answer = await ask({ model: openai, max_tokens: 64 });
    assert.equal(answer.status, 200, JSON.stringify(answer.body));
    return answer.body.usage;
  };
  const catalog = async () => (await operator("GET", "/catalog")).body.id;
  // Reading the store goes on beside the calls; what could not be read is told in the log.
  const logged = (text) => until(`the log says: ${text}`, async () => {
    await charged();
    return here.server.getLogs().some(({ message }) => message.includes(text));
  }, { ms: 5000 });
  const [plain, before] = [await catalog(), await charged()];

  await KV.put("catalog/overrides", JSON.stringify({ [openai]: { input_usd_per_mtok: "0", output_usd_per_mtok: "1000" } }));
  await until("the prices are folded into the catalog's id", async () => (await catalog()) !== plain, { ms: 5000 });
  const dear = await charged();
  assert.equal(Math.round(Number(dear.cost_usd) * 1e6), dear.completion_tokens * 1000, "a thousand dollars a million");

  await KV.put("catalog/overrides", '{"openai/gpt-5-mini": {"input_usd_per_mtok": -');
  await logged("catalog/overrides in KV cannot be read");
  const falseName = "0".repeat(64);
  await KV.put(`catalog/${falseName}`, "{}");
  await KV.put("catalog/current", falseName);
  await logged("not what its name says");
  assert.equal((await charged()).cost_usd, dear.cost_usd, "the last good prices stay");

  await (pointer ? KV.put("catalog/current", pointer) : KV.delete("catalog/current"));
  await KV.delete("catalog/overrides");
  await until("the catalog's own prices are back", async () => (await catalog()) === plain, { ms: 5000 });
  assert.equal((await charged()).cost_usd, before.cost_usd);
});

// ---- admins ----------------------------------------------------------------------------------------------------------

test("keys are made, shown once, listed and revoked", async () => {
  const made = await admin("POST", "/api_keys", { name: "ci", rpm: 60, model_allowlist: [openai], expires_in_seconds: 3600 });
  assert.equal(made.status, 201);
  const { secret, ...shown } = made.body;
  assert.match(secret, /^mr_sk_/);
  assert.ok(shown.redacted_value.length < 16 && secret.endsWith(shown.redacted_value.slice(-4)));
  assert.deepEqual((await admin("GET", `/api_keys/${shown.id}`)).body, shown);
  assert.deepEqual(listOf(await admin("GET", "/api_keys")).find(({ id }) => id === shown.id), shown);
  assert.equal((await admin("DELETE", `/api_keys/${shown.id}`)).body.status, "revoked");
  for (const bad of [{}, { name: "x", rpm: 0 }, { name: "x", kind: "root" }, { name: "x", rmp: 1 }, { name: "x", expires_in_seconds: 0 }]) {
    refused(await admin("POST", "/api_keys", bad));
  }
  assert.equal((await admin("GET", "/api_keys/key_none")).status, 404);
  const admins = listOf(await admin("GET", "/api_keys")).filter(({ kind }) => kind === "admin");
  assert.equal(admins.length, 1);
  refused(await admin("DELETE", `/api_keys/${admins[0].id}`)); // nobody could make another
});

test("budgets are put, shown and removed", async () => {
  for (const path of ["/organization", `/api_keys/${own.keyId}`]) {
    for (const window of ["day", "week", "month", "quarter", "lifetime"]) {
      const at = `${path}/budgets/${window}`;
      const put = await admin("PUT", at, { limit_usd: "12.5", mode: "soft" });
      assert.deepEqual([put.status, put.body.limit_usd, put.body.mode], [200, "12.5", "soft"]);
      assert.deepEqual(Object.keys(put.body.state).sort(), ["held_usd", "posted_usd", "resets_at", "window_id"]);
      assert.equal(put.body.state.resets_at === null, window === "lifetime");
      assert.deepEqual((await admin("GET", at)).body, put.body);
      assert.equal((await admin("DELETE", at)).status, 200);
      assert.equal((await admin("GET", at)).status, 404);
    }
  }
  const bad = [{}, { limit_usd: "-1" }, { limit_usd: "1", mode: "firm" }, { limit_usd: "1", limit: 2 }, { limit_usd: "1.0000000001" }];
  for (const ask of bad) refused(await admin("PUT", "/organization/budgets/day", ask));
  assert.equal((await admin("PUT", "/organization/budgets/year", { limit_usd: "1" })).status, 404);
  assert.equal((await admin("PUT", "/api_keys/key_none/budgets/day", { limit_usd: "1" })).status, 404);
});

test("an own provider is put, shown without its credential, called and removed", async () => {
  const provider = {
    dialect: "openai_chat", base_url: `${here.sandboxUrl}/ours`, credential: "sk-very-secret",
    models: [{ id: "m", input_usd_per_mtok: "1", output_usd_per_mtok: "2", context_length: 1000, max_output_tokens: 100 }],
  };
  const put = await admin("PUT", "/providers/ours", provider);
  assert.equal(put.status, 200, JSON.stringify(put.body));
  const shown = [put, await admin("GET", "/providers/ours"), await admin("GET", "/providers")];
  for (const { body } of shown) assert.doesNotMatch(JSON.stringify(body), /very-secret/);
  assert.deepEqual(shown[1].body, put.body);
  assert.deepEqual(listOf(shown[2]), [put.body]);
  assert.equal(put.body.has_credential, true);

  assert.equal((await ask({ model: "ours/m", max_tokens: 10 })).status, 200);
  const { headers, body } = (await here.sandbox.seen("ours")).last_request;
  assert.ok(headers.authorization.startsWith("Bearer sk-v"), "it is sent with the credential");
  assert.equal(body.model, "m");
  const { credential, ...without } = provider;
  assert.equal((await admin("PUT", "/providers/ours", without)).body.has_credential, true, "what cannot be read back is kept");
  assert.ok((await here.call("GET", "/v1/models", own.key)).body.data.some(({ id }) => id === "ours/m"));

  const stranger = await here.newOrganization();
  assert.equal((await here.ask(stranger.key, { model: "ours/m" })).status, 404, "it is this organisation's alone");
  assert.equal((await here.call("GET", "/admin/v1/providers/ours", stranger.adminKey)).status, 404);

  assert.equal((await admin("DELETE", "/providers/ours")).status, 200);
  assert.equal((await ask({ model: "ours/m" })).status, 404);
  for (const method of ["GET", "DELETE"]) assert.equal((await admin(method, "/providers/ours")).status, 404);

  const bad = [
    [{ ...provider, extra: 1 }], [{ ...provider, dialect: "smoke" }], [{ ...provider, base_url: "ftp://x" }, "base_url"],
    [{ ...provider, base_url: "http://user@x" }, "base_url"], [{ ...provider, models: [] }, "models"],
    [{ ...provider, models: [{ ...provider.models[0], price: 1 }] }], [{ ...provider, models: [{ id: "m", input_usd_per_mtok: "1" }] }],
    [{ ...provider, models: [{ ...provider.models[0], input_usd_per_mtok: "-1" }] }],
  ];
  for (const [ask, param] of bad) refused(await admin("PUT", "/providers/bad", ask), param);
  refused(await admin("PUT", "/providers/openai", provider), "id");
  refused(await admin("PUT", "/providers/Not%20A%20Name", provider), "id");
});

test("a named route is put, shown, called and removed", async () => {
  const route = {
    targets: [{ provider: "openai", model: "gpt-5-mini", weight: 1 }, { provider: "anthropic", model: "claude-haiku-4-5" }],
    mode: "cost-first", deadlines: { total_ms: 5000 },
  };
  const put = await admin("PUT", "/routes/fast", route);
  assert.equal(put.status, 200, JSON.stringify(put.body));
  assert.deepEqual(put.body, { object: "route", id: "fast", ...route, fallback: true, retries: 1, hedge: false });
  assert.deepEqual((await admin("GET", "/routes/fast")).body, put.body);
  assert.deepEqual(listOf(await admin("GET", "/routes")), [put.body]);
  const answer = await ask({ model: "fast" });
  assert.deepEqual([answer.headers.get("x-megarouter-reason"), answer.headers.get("x-megarouter-mode")], ["alias", "cost-first"]);

  const bad = [
    [{ targets: [] }, "targets"], [{}], [{ ...route, target: 1 }], [{ ...route, mode: "fast" }],
    [{ targets: [{ provider: "openai", model: "gpt-9000" }] }, "targets"],
    [{ targets: [{ provider: "openai", model: "gpt-5-mini", wait: 1 }] }],
    [{ ...route, deadlines: { head_ms: 0 } }, "deadlines"], [{ ...route, deadlines: { heads_ms: 1 } }],
  ];
  for (const [ask, param] of bad) refused(await admin("PUT", "/routes/bad", ask), param);
  refused(await admin("PUT", "/routes/auto", route), "alias");

  assert.equal((await admin("DELETE", "/routes/fast")).status, 200);
  assert.equal((await ask({ model: "fast" })).status, 404);
  assert.equal((await admin("GET", "/routes/fast")).status, 404);
});

test("where private addresses are not allowed, an own provider has a public one", async () => {
  const strict = await start({ sandbox: false, vars: { PRIVATE_UPSTREAMS: "" } });
  try {
    const { adminKey } = await strict.newOrganization();
    const put = (base_url) => strict.call("PUT", "/admin/v1/providers/ours", adminKey, {
      dialect: "openai_chat", base_url, models: [{ id: "m", input_usd_per_mtok: "1", output_usd_per_mtok: "2" }],
    });
    for (const url of [
      "http://api.acme.com", "https://127.0.0.1/v1", "https://localhost", "https://10.0.0.8", "https://[::1]/", "https://2130706433",
      "https://metadata.internal", "https://api.acme.com:8443",
    ]) {
      const { status, body } = await put(url);
      assert.deepEqual([status, body.error.param], [400, "base_url"], url);
    }
    assert.equal((await put("https://api.acme.com/v1")).status, 200);
  } finally {
    await strict.close();
  }
});

// Routing policies over HTTP: at four scopes the nearest default counts and every rule holds, with the next call.
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { code, start } from "./harness.mjs";

let here, own, seat, scopes;
before(async () => {
  here = await start();
  own = await here.newOrganization({ name: "Acme" });
  seat = await here.newSeat(own, "Ada");
  scopes = {
    organization: "/organization", outer: `/groups/${seat.outer.id}`, inner: `/groups/${seat.inner.id}`,
    member: `/members/${seat.person.id}`, api_key: `/api_keys/${seat.key.id}`,
  };
});
after(() => here.close());
afterEach(async () => {
  for (const scope of Object.values(scopes)) await admin("DELETE", `${scope}/routing_policy`);
});

const openai = "openai/gpt-5-mini", anthropic = "anthropic/claude-haiku-4-5";
const admin = (method, path, body) => here.call(method, `/admin/v1${path}`, own.adminKey, body);
const ask = (body, key = seat.key.secret) => here.ask(key, { model: openai, max_tokens: 20, ...body });
const put = async (scope, policy) => {
  const answer = await admin("PUT", `${scopes[scope]}/routing_policy`, policy);
  assert.equal(answer.status, 200, JSON.stringify(answer.body));
  return answer.body;
};
const drop = async (...names) => {
  for (const name of names) assert.equal((await admin("DELETE", `${scopes[name]}/routing_policy`)).status, 200, name);
};
const modeOf = async (body) => (await ask({ model: "auto", ...body })).headers.get("x-megarouter-mode");

test("a policy is put, read and deleted at each scope", async () => {
  const ids = { organization: own.id, outer: seat.outer.id, inner: seat.inner.id, member: seat.person.id, api_key: seat.key.id };
  for (const [name, id] of Object.entries(ids)) {
    const path = `${scopes[name]}/routing_policy`;
    assert.deepEqual(code(await admin("GET", path)), [404, "not_found"]);
    const told = await put(name, { mode: "cost-first", data_policy: { training: "deny" }, max_price: { input: "3" } });
    const type = { outer: "group", inner: "group" }[name] ?? name;
    assert.deepEqual(told, {
      object: "routing_policy", scope: { type, id }, mode: "cost-first", data_policy: { training: "deny" }, max_price: { input: "3" },
    });
    assert.deepEqual((await admin("GET", path)).body, told);
    assert.equal((await admin("DELETE", path)).body.deleted, true);
    assert.deepEqual(code(await admin("DELETE", path)), [404, "not_found"]);
  }
  for (const [body, word] of [[{}, "at least one"], [{ modes: 1 }, "modes"], [{ deny: ["openai/gpt-*"] }, "deny"], [{ max_cost_usd: "0" }, "max_cost_usd"]]) {
    const refused = await admin("PUT", "/organization/routing_policy", body);
    assert.deepEqual(code(refused), [400, "invalid_parameter"]);
    assert.match(refused.body.error.message, new RegExp(word));
  }
  assert.deepEqual(code(await admin("PUT", "/groups/grp_none/routing_policy", { mode: "balanced" })), [404, "not_found"]);
  assert.deepEqual(code(await admin("POST", "/organization/routing_policy", { mode: "balanced" })), [405, "method_not_allowed"]);
});

test("the nearest default counts, a request's own word more, and each change with the next call", async () => {
  assert.equal(await modeOf(), "balanced");
  for (const [name, mode] of [
    ["organization", "latency-first"], ["outer", "cost-first"], ["inner", "availability-first"],
    ["member", "latency-first"], ["api_key", "cost-first"],
  ]) {
    await put(name, { mode });
    assert.equal(await modeOf(), mode, name);
    assert.equal(await modeOf(), mode, "and with the one after");
  }
  assert.equal(await modeOf({ megarouter: { mode: "balanced" } }), "balanced");
  assert.equal(await modeOf({ model: "auto:availability-first" }), "availability-first");
  assert.equal((await here.ask(own.key, { model: "auto" })).headers.get("x-megarouter-mode"), "latency-first", "another member's key");
  await drop("api_key", "inner");
  assert.equal(await modeOf(), "latency-first");
  await drop("member", "outer", "organization");
  assert.equal(await modeOf(), "balanced");
});

test("every scope's rules hold, and a refusal names the rule and whose it is", async () => {
  assert.equal((await ask()).status, 200);
  await put("organization", { deny: ["xai/*"] });
  await put("inner", { allow: ["openai/*", "anthropic/*", "xai/*"] });
  await put("api_key", { deny: ["openai/*"], allow: ["*"] });
  for (const [model, rule, type, id] of [
    [openai, 'deny "openai/*" of the api key "Ada"', "api_key", seat.key.id],
    ["deepseek/deepseek-v4-flash", 'allow ["openai/*","anthropic/*","xai/*"] of the group "Ada inner"', "group", seat.inner.id],
    ["xai/grok-4.3", 'deny "xai/*" of the organization "Acme"', "organization", null],
  ]) {
    const refused = await ask({ model });
    assert.deepEqual(code(refused), [403, "routing_policy_denied"], JSON.stringify(refused.body));
    const { message, type: kind, metadata } = refused.body.error;
    assert.ok(message.includes(rule) && message.includes("ask an admin"), message);
    assert.deepEqual([kind, metadata.scope_type, metadata.scope_id], ["permission_error", type, id]);
  }
  const fallen = await ask({ model: anthropic, megarouter: { models: [openai], explain: true } });
  assert.deepEqual([fallen.status, fallen.headers.get("x-megarouter-provider")], [200, "anthropic"]);
  const left = fallen.body.megarouter.candidates.find(({ provider }) => provider === "openai");
  assert.deepEqual([left.eligible, left.why], [false, "left out by the routing policy: deny"]);
  assert.equal((await here.ask(own.key, { model: openai })).status, 200, "another member's key");
  const { data } = (await here.call("GET", "/v1/models", seat.key.secret)).body;
  assert.deepEqual([...new Set(data.map(({ owned_by: provider }) => provider))], ["anthropic"]);
  await drop("api_key", "inner", "organization");
  assert.equal((await ask()).status, 200, "as before");
});

test("what is not known of a provider's data does not pass, what an own one does is its owner's matter", async () => {
  const mine = await here.newProvider(own, "mine");
  await put("outer", { data_policy: { training: "deny", regions: ["eu"] } });
  const refused = await ask();
  assert.deepEqual(code(refused), [403, "routing_policy_denied"]);
  assert.match(refused.body.error.message, /data_policy \{"training":"deny","regions":\["eu"\]\} of the group "Ada outer"/);
  assert.equal((await ask({ model: mine })).status, 200);
});

test("caps narrow: the lowest counts, also below what a request asks for", async () => {
  await put("organization", { max_cost_usd: "0.01", min_quality: 0.5 });
  await put("member", { max_cost_usd: "0.002" });
  const { body } = await here.call("POST", "/v1/chat/completions", seat.key.secret, {
    model: openai, messages: [{ role: "user", content: "hi" }], megarouter: { max_cost_usd: "5", explain: true },
  });
  assert.ok(Number(body.megarouter.attempts[0].cost_usd) <= 0.002);
  const refused = await ask({ model: "openai/gpt-5.4-pro", megarouter: { max_cost_usd: "5" } });
  assert.deepEqual(code(refused), [403, "routing_policy_denied"], JSON.stringify(refused.body));
  assert.match(refused.body.error.message, /max_cost_usd "0.002" of the member "Ada"/);
  const decided = await here.ask(own.key, { model: "auto:cost-first", megarouter: { explain: "only" } });
  const chosen = decided.body.megarouter.candidates.filter(({ eligible }) => eligible);
  assert.ok(chosen.length > 0 && chosen.every(({ quality }) => quality >= 0.5), JSON.stringify(chosen));
});

test("a member that moves stands under other policies with the next call", async () => {
  await put("outer", { deny: ["openai/*"] });
  assert.equal((await ask()).status, 403);
  const { body: other } = await admin("POST", "/groups", { name: "elsewhere" });
  await admin("PATCH", `/members/${seat.person.id}`, { group_id: other.id });
  assert.equal((await ask()).status, 200);
  await admin("PATCH", `/members/${seat.person.id}`, { group_id: seat.inner.id });
  assert.equal((await ask()).status, 403);
  await drop("outer");
  assert.equal((await ask()).status, 200);
});

// Layers of an organisation over HTTP: groups, members, sessions, windows in its time zone, and what a key's holder sees.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { code, dear, start } from "./harness.mjs";

let here, own;
before(async () => {
  here = await start();
  own = await here.newOrganization();
});
after(() => here.close());

const admin = (method, path, body) => here.call(method, `/admin/v1${path}`, own.adminKey, body);

/** A member of a group in a group, with a key and a dear model. */
async function member(name) {
  const seat = await here.newSeat(own, name);
  const model = await here.newProvider(own, name, { models: [dear] });
  return { ...seat, ask: (body) => here.ask(seat.key.secret, { model, max_tokens: 10, ...body }) };
}

test("groups and members are made, read, changed and put away", async () => {
  const { outer, inner, person, key } = await member("tree");
  assert.deepEqual([outer.depth, inner.depth, inner.path, outer.status], [1, 2, `${outer.id}/${inner.id}`, "active"]);
  assert.deepEqual([person.kind, person.status, key.owner_member_id], ["user", "active", person.id]);
  assert.equal((await admin("PATCH", `/groups/${inner.id}`, { name: "renamed" })).body.name, "renamed");
  assert.equal((await admin("GET", `/groups/${inner.id}`)).body.name, "renamed");
  assert.ok((await admin("GET", "/groups")).body.data.some(({ id }) => id === inner.id));
  assert.ok((await admin("GET", "/members")).body.data.some(({ id }) => id === person.id));
  assert.deepEqual(code(await admin("PATCH", `/groups/${inner.id}`, { parent_id: outer.id })), [400, "invalid_parameter"]);
  assert.deepEqual(code(await admin("POST", "/groups", { name: "x", nme: 1 })), [400, "invalid_parameter"]);
  assert.deepEqual(code(await admin("POST", "/groups", "{")), [400, "malformed_json"]);
  assert.deepEqual(code(await admin("POST", "/members", { name: "x", group_id: "grp_none" })), [404, "not_found"]);
  assert.deepEqual(code(await admin("POST", `/groups/${inner.id}/archive`)), [409, "group_not_empty"]);
  assert.equal((await admin("POST", `/members/${person.id}/disable`)).body.status, "disabled");
  assert.equal((await admin("POST", `/groups/${inner.id}/archive`)).body.status, "archived");
  assert.deepEqual(code(await here.ask(key.secret, { model: "openai/gpt-5-mini" })), [403, "member_disabled"]);
  const owner = (await admin("GET", "/members")).body.data.find(({ roles }) => roles[0].role === "owner");
  assert.deepEqual(code(await admin("POST", `/members/${owner.id}/disable`)), [409, "last_owner"]);
  const unowned = await admin("POST", "/api_keys", { name: "of nobody" });
  assert.deepEqual([unowned.status, unowned.body.owner_member_id], [201, owner.id], "a key belongs to the first owner");
});

test("a budget on any layer stops the call and names itself", async () => {
  const { outer, inner, person, key, ask } = await member("layers");
  for (const [path, type, id] of [
    [`/groups/${outer.id}`, "group", outer.id], [`/groups/${inner.id}`, "group", inner.id],
    [`/members/${person.id}`, "member", person.id], [`/api_keys/${key.id}`, "api_key", key.id],
  ]) {
    const put = await admin("PUT", `${path}/budgets/month`, { limit_usd: "0.005" });
    assert.deepEqual([put.status, put.body.scope], [200, { type, id }]);
    const refused = await ask();
    assert.deepEqual(code(refused), [403, "request_exceeds_budget"]);
    assert.deepEqual([refused.body.error.metadata.scope_type, refused.body.error.metadata.scope_id], [type, id]);
    assert.ok(refused.body.error.metadata.scope_name);
    const until = new Date(Date.now() + 60_000).toISOString();
    const extra = await admin("PUT", `${path}/budgets/month/override`, { extra_usd: "1", until });
    assert.equal(extra.body.override.extra_usd, "1");
    assert.equal((await ask()).status, 200, "an override lets it pass");
    assert.equal((await admin("DELETE", `${path}/budgets/month/override`)).body.override, null);
    assert.deepEqual(code(await ask())[0], 403);
    assert.deepEqual((await admin("GET", `${path}/budgets`)).body.data.map(({ window }) => window), ["month"]);
    assert.equal((await admin("DELETE", `${path}/budgets/month`)).status, 200);
  }
  assert.equal((await ask()).status, 200);
});

test("a session spends its own budget", async () => {
  const { key, ask } = await member("sessions");
  await admin("PUT", `/api_keys/${key.id}/budgets/session`, { limit_usd: "0.015" });
  const inSession = (session) => ask({ megarouter: { session } });
  assert.equal((await inSession("a")).status, 200);
  assert.deepEqual(code(await inSession("a")), [403, "session_budget_exceeded"]);
  assert.equal((await inSession("b")).status, 200);
  assert.equal((await ask()).status, 200, "outside of sessions");
  const { body } = await here.call("GET", "/v1/key", key.secret, undefined, { "x-megarouter-session": "a" });
  const [limit] = body.limits.filter(({ window }) => window === "session");
  assert.deepEqual([limit.window_id, limit.limit_usd], ["a", "0.015"]);
  assert.ok(Number(limit.posted_usd) > 0);
});

test("rates of a layer bind all below it", async () => {
  const { outer, key, ask } = await member("rates");
  assert.deepEqual((await admin("PUT", `/groups/${outer.id}/rate_limits`, { rpm: 1 })).body.rpm, 1);
  assert.equal((await ask()).status, 200);
  const refused = await ask();
  assert.deepEqual(code(refused), [429, "rpm_exceeded"]);
  assert.equal(refused.body.error.metadata.scope_type, "group");
  await admin("PUT", `/groups/${outer.id}/rate_limits`, {});
  assert.equal((await admin("PUT", `/api_keys/${key.id}/rate_limits`, { tpm: 1 })).body.tpm, 1);
  assert.deepEqual(code(await ask()), [400, "invalid_parameter"]);
});

test("a holder sees every limit, and is never stopped by one", async () => {
  const { outer, person, key, ask } = await member("holder");
  await admin("PUT", `/groups/${outer.id}/budgets/day`, { limit_usd: "0" });
  await admin("PUT", `/members/${person.id}/budgets/lifetime`, { limit_usd: "7", mode: "soft" });
  assert.equal((await ask()).status, 403);
  const { status, body } = await here.call("GET", "/v1/key", key.secret);
  assert.equal(status, 200);
  assert.deepEqual([body.id, body.name, body.left_usd], [key.id, "holder", "0"]);
  const told = body.limits.map(({ scope_type, scope_name, window, limit_usd, posted_usd, held_usd }) => [scope_type, scope_name, window, limit_usd, posted_usd, held_usd]);
  assert.deepEqual(told, [["member", "holder", "lifetime", "7", "0", "0"], ["group", "holder outer", "day", "0", "0", "0"]]);
  assert.ok(Date.parse(body.limits[1].resets_at) > Date.now());
  assert.equal(body.secret, undefined);
  for (const [credential, want] of [[own.adminKey, "wrong_key_kind"], [undefined, "missing_key"], [`${key.secret}x`, "invalid_key"]]) {
    assert.deepEqual(code(await here.call("GET", "/v1/key", credential)), [401, want]);
  }
});

test("windows are those of the organisation's time zone", async () => {
  const operator = (body) => here.call("POST", "/platform/v1/organizations", here.operatorToken, body);
  assert.deepEqual(code(await operator({ name: "x", timezone: "Europe/Atlantis" })), [400, "invalid_parameter"]);
  for (const timezone of ["Asia/Kathmandu", "Pacific/Kiritimati", "America/St_Johns", "UTC"]) {
    const { status, body } = await operator({ name: "x", timezone });
    assert.deepEqual([status, body.organization?.timezone], [201, timezone], JSON.stringify(body));
    const call = (method, path, sent) => here.call(method, `/admin/v1${path}`, body.admin_key.secret, sent);
    const { body: budget } = await call("PUT", "/organization/budgets/day", { limit_usd: "1" });
    const local = (at) => Object.fromEntries(new Intl.DateTimeFormat("en-CA", { timeZone: timezone, hourCycle: "h23", year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit" }).formatToParts(at).map(({ type, value }) => [type, value]));
    const today = local(Date.now());
    assert.equal(budget.state.window_id, `${today.year}-${today.month}-${today.day}`);
    const reset = local(Date.parse(budget.state.resets_at));
    assert.deepEqual([reset.hour, reset.minute], ["00", "00"]);
  }
});

test("a spent budget stops every endpoint", async () => {
  const { key } = await member("endpoints");
  const asks = [
    ["/v1/chat/completions", { model: "openai/gpt-5-mini", messages: [{ role: "user", content: "hi" }] }],
    ["/v1/responses", { model: "openai/gpt-5-mini", input: "hi", store: false }],
    ["/v1/messages", { model: "anthropic/claude-haiku-4-5", max_tokens: 20, messages: [{ role: "user", content: "hi" }] }],
    ["/v1/completions", { model: "fireworks/accounts/fireworks/models/gpt-oss-20b", prompt: "hi" }],
    ["/v1/embeddings", { model: "openai/text-embedding-3-small", input: "hi" }],
  ];
  for (const [path, body] of asks) assert.equal((await here.call("POST", path, key.secret, body)).status, 200, path);
  await admin("PUT", `/api_keys/${key.id}/budgets/lifetime`, { limit_usd: "0" });
  for (const [path, body] of asks) {
    for (const asked of [path, `${path}/`, `${path}?key=${key.secret}`]) {
      const refused = await here.call("POST", asked, key.secret, body);
      assert.equal(refused.status, 403, `${asked} ${JSON.stringify(refused.body)}`);
    }
    for (const stray of [`/v1/engines/m${path.slice(3)}`, `/openai${path}`]) {
      assert.equal((await here.call("POST", stray, key.secret, body)).status, 404, stray);
    }
  }
});

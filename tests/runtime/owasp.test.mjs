// The OWASP API Security Top 10 of 2023 (https://owasp.org/API-Security/editions/2023/en/0x11-t10/), a test or more for each item, over
// every operation of schema/openapi.json; and at the end: nothing secret stands in the log or in a refusal.
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { request as httpRequest } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { code, start, startInstance, startReceiver, until } from "./harness.mjs";

const document = JSON.parse(readFileSync(new URL("../../schema/openapi.json", import.meta.url), "utf8"));
const METHODS = ["get", "put", "post", "patch", "delete"];
const OPENAI = "openai/gpt-5-mini", CREDENTIAL = "credential-of-a-provider";

let here, strict, receiver, a, b, operations, operatorToken, pepper, sandboxUrl;
const state = mkdtempSync(join(tmpdir(), "megarouter-"));
const secrets = new Set([CREDENTIAL]);
/** The lines that the worker has written so far; wrangler's own tell each request's path. */
const log = () => readFileSync(join(state, "worker.log"), "utf8").split("\n").filter((line) => !line.startsWith("[wrangler:"));
const refusals = []; // every body that was no 2xx

// ---- calls ------------------------------------------------------------------------------------------------------

/** Calls; remembers refusals, and the secrets that are told. */
async function call(method, path, token, body, more) {
  const answer = await here.call(method, path, token, body, more);
  const { status, body: told } = answer;
  const text = typeof told === "string" ? told : JSON.stringify(told) ?? "";
  if (status >= 300) refusals.push(`${method} ${path.slice(0, 200)} ${status} ${text}`);
  for (const [, secret] of status < 300 ? text.matchAll(/"secret":"([^"]+)"/g) : []) secrets.add(secret);
  return answer;
}

async function told(expected, method, path, token, body, more) {
  const answer = await call(method, path, token, body, more);
  assert.ok([expected].flat().includes(answer.status), `${method} ${path}: ${answer.status} ${JSON.stringify(answer.body)}`);
  return answer.body;
}
const admin = (own) => (expected, method, path, body) => told(expected, method, `/admin/v1${path}`, own.adminKey, body);

/** All of them, eight at a time. */
async function each(list, work) {
  const rest = [...list];
  await Promise.all(Array.from({ length: 8 }, async () => { for (let one; (one = rest.shift()) !== undefined;) await work(one); }));
}

/** As no `fetch` would send it. */
function plainly(method, path, headers, body) {
  return new Promise((done, fail) => {
    const { hostname, port } = new URL(here.url);
    const request = httpRequest({ hostname, port, path, method, headers }, async (response) => {
      const text = Buffer.concat(await response.toArray()).toString();
      done({ status: response.statusCode, headers: response.headers, text });
    }).on("error", fail);
    request.end(body);
  });
}

/** Bytes on a socket; the first answer's text. */
async function rawly(text) {
  const { hostname, port } = new URL(here.url);
  const socket = connect(Number(port), hostname).on("error", () => {});
  await once(socket, "connect");
  socket.end(text);
  return Buffer.concat(await socket.toArray().catch(() => [])).toString();
}

// ---- the document -----------------------------------------------------------------------------------------------

const pathOf = (template, ids) => template.replaceAll(/\{(\w+)\}/g, (_, name) => ids[name]);
const secured = (one) => one.told.security ?? document.security;
// A wallet has no key: what it signs is tried where wallets are.
const planeOf = (one) => secured(one).flatMap(Object.keys).find((plane) => plane !== "wallet");
const ofAdmin = () => operations.filter((one) => planeOf(one) === "admin");

/** The example of an operation's body. */
function bodyOf({ told: { requestBody } }) {
  if (!requestBody) return undefined;
  const { example, examples } = document.components.requestBodies[requestBody.$ref.split("/").at(-1)].content["application/json"];
  return example ?? Object.values(examples)[0].value;
}

/** What is documented and served. */
async function served() {
  const all = Object.entries(document.paths).flatMap(([template, item]) =>
    METHODS.filter((method) => item[method]).map((method) => ({ method: method.toUpperCase(), template, told: item[method] })));
  const found = [];
  await each(all, async (one) => {
    const path = one.template.replace("{window}", "day").replaceAll(/\{\w+\}/g, "x");
    const { body } = await call(one.method, path, "none", one.method === "GET" ? undefined : "{}");
    if (body.error?.code !== "unknown_endpoint") found.push(one);
  });
  return found;
}

// ---- two organisations ------------------------------------------------------------------------------------------

/** An organisation with something of each kind, and the ids that stand in paths. */
async function furnished(name) {
  const own = await here.newOrganization({ name });
  for (const secret of [own.adminKey, own.key]) secrets.add(secret);
  const make = async (rows, body) => {
    const made = await told(201, "POST", `/admin/v1/${rows}`, own.adminKey, body);
    if (made.secret) secrets.add(made.secret);
    return made;
  };
  const outer = await make("groups", { name: `${name} outer` });
  const inner = await make("groups", { name: `${name} inner`, parent_id: outer.id });
  const person = await make("members", { name: `${name} person`, group_id: inner.id, email: `person@${name}.test` });
  const spare = await make("api_keys", { name: `${name} spare`, owner_member_id: person.id });
  const invite = await make("invites", { name: `${name} guest` });
  const hook = await make("webhook_endpoints", { url: `${receiver.url}/${name}`, events: ["test"] });
  const put = (path, body) => told(200, "PUT", `/admin/v1${path}`, own.adminKey, body);
  const models = [{ id: "m", input_usd_per_mtok: "1", output_usd_per_mtok: "2" }];
  const provider = { dialect: "openai_chat", base_url: `${sandboxUrl}/${name}`, credential: CREDENTIAL, models };
  await put(`/providers/${name}-provider`, provider);
  await put(`/routes/${name}-route`, { targets: [{ provider: "openai", model: "gpt-5-mini" }] });
  for (const scope of ["/organization", `/groups/${inner.id}`, `/members/${person.id}`, `/api_keys/${spare.id}`]) {
    await put(`${scope}/budgets/day`, { limit_usd: "77" });
    await put(`${scope}/budgets/day/override`, { extra_usd: "7", until: "2099-01-01T00:00:00Z" });
    await put(`${scope}/rate_limits`, { rpm: 77_777 });
    await put(`${scope}/routing_policy`, { mode: "balanced" });
    if (!/member|key/.test(scope)) await put(`${scope}/member_defaults`, { rate_limits: { rpm: 7 } });
  }
  const alert = await told(202, "POST", `/admin/v1/webhook_endpoints/${hook.id}/test`, own.adminKey);
  const asked = await here.ask(own.key, { model: OPENAI, max_tokens: 20 });
  const entry = asked.headers.get("x-request-id");
  await until("the call is booked", async () => (await call("GET", `/admin/v1/ledger/entries/${entry}`, own.adminKey)).status === 200);
  const { data: members } = await told(200, "GET", "/admin/v1/members", own.adminKey);
  const owner = members.find(({ roles }) => roles.some(({ role }) => role === "owner"));
  const ids = {
    key_id: spare.id, group_id: inner.id, member_id: person.id, invite_id: invite.id, webhook_endpoint_id: hook.id, alert_id: alert.id,
    entry_id: entry, request_id: entry, provider_id: `${name}-provider`, alias: `${name}-route`, window: "day", organization_id: own.id,
    model: OPENAI,
  };
  return { ...own, name, outer, inner, person, spare, invite, owner, ids, make, provider };
}

const day = (days) => new Date(Date.now() + days * 86_400_000).toISOString().slice(0, 10);
const SPAN = `?start_time=${day(-30)}&end_time=${day(2)}`;

/** What all lists of an organisation say, and each thing that was made; but for what moves by itself. */
async function stateOf(own) {
  const state = {};
  const asked = ofAdmin().filter(({ method, template }) => method === "GET" && !/checkpoints|router_lift/.test(template));
  await each(asked, async ({ template }) => {
    const span = /usage|costs/.test(template) ? SPAN : "";
    const { status, body } = await call("GET", pathOf(template, own.ids) + span, own.adminKey);
    state[template] = [status, JSON.parse(JSON.stringify(body, (name, value) => (name === "last_used_at" ? undefined : value)))];
  });
  return state;
}

/** A member of an organisation with an admin key. */
async function staff(own, name, members) {
  const person = await own.make("members", { name, ...members });
  const key = await own.make("api_keys", { name, kind: "admin", owner_member_id: person.id });
  return { ...person, key: key.secret, keyId: key.id };
}

before(async () => {
  receiver = await startReceiver({
    "/moved": [302, { location: "/inside" }], "/moved/v1/chat/completions": [302, { location: "/inside" }],
    "/loud/chat/completions": [200, {
      "content-type": "application/json", "set-cookie": "sid=provider", server: "nginx/1.2.3", "x-powered-by": "PHP",
      "x-request-id": "theirs",
      "access-control-allow-origin": "https://evil.test", "x-megarouter-cost-usd": "0", location: "https://evil.test/",
    }, JSON.stringify({
      id: "c", object: "chat.completion", created: 1, model: "m", usage: { prompt_tokens: 5, completion_tokens: 1, total_tokens: 6 },
      choices: [{ index: 0, message: { role: "assistant", content: "Hi." }, finish_reason: "stop" }],
    })],
  });
  [here, strict] = await Promise.all([
    // As `make run` starts it: on the runtime's own network, with its output in a file.
    startInstance({ state }), start({ sandbox: false, vars: { PRIVATE_UPSTREAMS: "" } }),
  ]);
  const [kept, run] = ["secrets", "run"].map((name) => JSON.parse(readFileSync(join(state, `${name}.json`), "utf8")));
  sandboxUrl = run.sandbox_url;
  for (const secret of Object.values(kept)) secrets.add(secret);
  [operatorToken, pepper] = [kept.OPERATOR_TOKEN, kept.KEY_PEPPER];
  operations = await served();
  a = await furnished("a"); // one after the other: what happens in the same millisecond has the same id in both
  b = await furnished("b");
});
after(async () => {
  receiver?.close();
  await Promise.all([here?.close(), strict?.close()]);
  rmSync(state, { recursive: true, force: true });
});

// ---- the ten ----------------------------------------------------------------------------------------------------

test("API1:2023 Broken Object Level Authorization: ids of another organisation lead nowhere", async () => {
  const before = await stateOf(a);
  assert.deepEqual(Object.entries(before).filter(([, [status]]) => status !== 200), [], "all of it is there");
  const mine = await stateOf(b);
  const swapped = ofAdmin().filter(({ template }) => template.replace("{window}", "").includes("{"));
  assert.ok(swapped.length > 60, `${swapped.length} operations`);
  await each(swapped, async (one) => {
    // A provider or a route of that name would be B's own.
    if (one.method === "PUT" && /\{(provider_id|alias)\}$/.test(one.template)) return;
    const path = pathOf(one.template, a.ids);
    const answer = await call(one.method, path, b.adminKey, bodyOf(one));
    assert.deepEqual(code(answer), [404, "not_found"], `${one.method} ${path} ${JSON.stringify(answer.body)}`);
  });
  const ask = admin(b);
  for (const [method, path, body] of [
    ["POST", "/groups", { name: "x", parent_id: a.inner.id }], ["POST", `/groups/${b.inner.id}/move`, { parent_id: a.outer.id }],
    ["POST", "/members", { name: "x", group_id: a.inner.id }], ["PATCH", `/members/${b.person.id}`, { group_id: a.inner.id }],
    ["POST", "/members", { name: "x", roles: [{ role: "group_admin", scope: a.inner.id }] }],
    ["PATCH", `/members/${b.person.id}`, { roles: [{ role: "auditor", scope: a.inner.id }] }],
    ["POST", "/service_accounts", { name: "x", group_id: a.inner.id }], ["POST", "/invites", { group_id: a.inner.id }],
    ["POST", "/api_keys", { name: "x", owner_member_id: a.person.id }],
    ["POST", "/api_keys", { name: "x", kind: "admin", owner_member_id: a.owner.id }],
    ["POST", "/webhook_endpoints", { url: receiver.url, group_id: a.inner.id }],
  ]) await ask(404, method, path, body);
  for (const key of [b.key, b.adminKey]) await told(404, "GET", `/v1/receipts/${a.ids.entry_id}`, key);
  await told(404, "POST", "/v1/chat/completions", b.key, { model: "a-provider/m", messages: [{ role: "user", content: "Hi." }] });
  await told(404, "POST", "/v1/chat/completions", b.key, { model: "a-route", messages: [{ role: "user", content: "Hi." }] });
  // Questions that name what is another's are answered with nothing of it.
  const audit = before["/admin/v1/audit_logs"][1].data[0];
  for (const query of [
    `requests?key=${a.spare.id}`, `audit_logs?actor_id=${audit.actor.member_id}`, `audit_logs?resource_id=${a.inner.id}`,
  ]) assert.deepEqual((await ask(200, "GET", `/${query}`)).data, [], query);
  for (const query of [`ledger/entries?after=${a.ids.entry_id}`, `audit_logs?after=${audit.id}`]) await ask(400, "GET", `/${query}`);

  assert.deepEqual(await stateOf(a), before, "nothing of A changed");
  const ids = [a.id, a.outer.id, a.inner.id, a.person.id, a.owner.id, a.keyId, ...Object.values(a.ids)].filter((id) => id.length > 20);
  for (const [template, [, body]] of Object.entries(await stateOf(b))) {
    const shown = JSON.stringify(body);
    // The trail of B says which paths B tried.
    if (!template.includes("audit")) for (const id of ids) assert.ok(!shown.includes(id), `${template} shows ${id} of A`);
    if (!/audit|alerts/.test(template)) assert.deepEqual(body, mine[template][1], `${template}: nor did anything of B`);
  }
});

/** Where a key of another kind has to be refused as one by hand: they do not ask the account first. */
const KINDS = [
  [/^\/admin\/v1\/ledger\/entries\/|^\/v1\/receipts\//, ["an invite"]],
  [/^\/v1\/(messages\/count_tokens|feedback)$/, ["an invite", "of an admin"]],
];

test("API2:2023 Broken Authentication: a key of another kind is refused as one everywhere", async () => {
  for (const [there, whose] of KINDS) {
    for (const one of operations.filter(({ template }) => there.test(template))) {
      for (const token of [a.invite.secret, ...whose.includes("of an admin") ? [a.adminKey] : []]) {
        const answer = await call(one.method, pathOf(one.template, a.ids), token, bodyOf(one));
        assert.deepEqual(code(answer), [401, "wrong_key_kind"], `${one.method} ${one.template}`);
      }
    }
  }
});

test("API2:2023 Broken Authentication: what is no good key opens no operation", async () => {
  const key = async (body) => (await a.make("api_keys", { name: "bad", ...body }));
  const [revoked, revokedAdmin, expired, expiredAdmin, disabled] = [
    await key({}), await key({ kind: "admin" }), await key({ expires_in_seconds: 1 }), await key({ kind: "admin", expires_in_seconds: 1 }),
    await key({ kind: "admin" }),
  ];
  const born = Date.now();
  for (const { id } of [revoked, revokedAdmin]) await admin(a)(200, "DELETE", `/api_keys/${id}`);
  await admin(a)(200, "PATCH", `/api_keys/${disabled.id}`, { status: "disabled" });
  const changed = (text, at) => text.slice(0, at) + (text[at] === "0" ? "1" : "0") + text.slice(at + 1);
  const forged = (good) => [
    ["of another organisation", good.slice(0, 6) + b.key.slice(6, 32) + good.slice(32)], ["of another id", changed(good, 50)],
    ["another secret", changed(good, 70)], ["another code", changed(good, good.length - 1)], ["cut", good.slice(0, -1)],
    ["longer", `${good}0`], ["upper case", good.toUpperCase()], ["its mark alone", good.slice(0, 6)],
  ];
  const anyhow = [
    ["none", undefined], ["nothing", ""], ["the pepper", pepper], ["a word", "undefined"],
    ["a JWT of no algorithm", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJvd25lciJ9."],
  ];
  const bad = {
    admin: [...anyhow, ...forged(a.adminKey), ["revoked", revokedAdmin.secret], ["expired", expiredAdmin.secret],
      ["of inference", a.key], ["the operator's", operatorToken], ["an invite", a.invite.secret],
      ["a webhook's", [...secrets].find((secret) => secret.startsWith("whsec_"))], ["its mark changed", a.key.replace("mr_sk_", "mr_ak_")]],
    invite: [...anyhow, ...forged(a.invite.secret), ["of an admin", a.adminKey], ["of inference", a.key]],
    operator: [...anyhow, ["cut", operatorToken.slice(0, -1)], ["longer", `${operatorToken}0`], ["of an admin", a.adminKey],
      ["of inference", a.key]],
    inference: [...anyhow, ...forged(a.key), ["revoked", revoked.secret], ["expired", expired.secret], ["of an admin", a.adminKey],
      ["the operator's", operatorToken], ["an invite", a.invite.secret]],
  };
  await new Promise((done) => setTimeout(done, born + 1_100 - Date.now()));
  // Every operation is shown a key of each class; of the ways to write nonsense each has its turn.
  const always = /^(none|cut|another code|revoked|expired|of |the operator's|an invite)/;
  const tried = operations.filter((one) => planeOf(one)).flatMap((one, row) => bad[planeOf(one)]
    .filter(([why], place) => always.test(why) || (row + place) % 3 === 0).map(([why, token]) => ({ one, why, token })));
  const wrong = [];
  let held = 0;
  await each(tried, async ({ one, why, token }) => {
    const path = pathOf(one.template, a.ids), plane = planeOf(one);
    const opens = secured(one).some((scheme) => Object.keys(scheme).length === 0);
    // Models are told to everybody, receipts to admins too; to count spends nothing, and looks at the key's own text alone.
    if (opens && !token?.startsWith("mr_")) return;
    if (/receipts/.test(path) && why === "of an admin" || /count_tokens/.test(path) && /revoked|expired/.test(why)) return;
    const answer = await call(one.method, path, token, bodyOf(one));
    const shown = `${one.method} ${path} with a key that is ${why}: ${answer.status} ${JSON.stringify(answer.body)}`;
    // Without a key of ours a call may be paid for at once.
    if (answer.status === 402 && plane === "inference" && answer.headers.has("payment-required")) return;
    const { headers } = answer;
    const good = answer.status === 401 && headers.get("www-authenticate") === "Bearer" && headers.get("cache-control") === "no-store";
    if (!good) wrong.push(shown);
    held++;
  });
  assert.deepEqual(wrong, []);
  assert.ok(held > 1_000, `${held} calls`);
  for (const one of ofAdmin()) {
    assert.deepEqual(code(await call(one.method, pathOf(one.template, a.ids), disabled.secret, bodyOf(one))), [403, "key_disabled"]);
  }
  // A key is a header's, never a cookie's or the query's of this plane.
  const cookie = `authorization=Bearer ${a.adminKey}`;
  for (const [path, headers] of [["/admin/v1/wallet", { cookie }], [`/admin/v1/wallet?token=${a.adminKey}`, {}]]) {
    assert.equal((await plainly("GET", path, headers)).status, 401);
  }
});

test("API3:2023 Broken Object Property Level Authorization: nobody writes more of itself than it has", async () => {
  const [lead, ada, boss] = await Promise.all([
    staff(a, "lead", { group_id: a.inner.id, roles: [{ role: "group_admin", scope: a.inner.id }] }),
    staff(a, "ada", { group_id: a.inner.id }), staff(a, "boss", { roles: [{ role: "admin" }] }),
  ]);
  const before = await stateOf(a);
  const grants = ["owner", "admin", "billing", "auditor"].map((role) => ({ role }));
  const tried = [];
  for (const who of [lead, ada]) {
    for (const grant of [...grants, { role: "group_admin", scope: a.outer.id }]) {
      for (const id of [lead.id, ada.id, a.person.id]) tried.push([who, "PATCH", `/members/${id}`, { roles: [grant] }]);
      const made = { name: "x", group_id: a.inner.id, roles: [grant] };
      for (const rows of ["/members", "/service_accounts", "/invites"]) tried.push([who, "POST", rows, made]);
    }
    for (const owner_member_id of [who.id, a.person.id, a.owner.id, boss.id]) {
      tried.push([who, "POST", "/api_keys", { name: "x", kind: "admin", owner_member_id }]);
    }
    for (const owner_member_id of [a.owner.id, boss.id]) tried.push([who, "POST", "/api_keys", { name: "x", owner_member_id }]);
    for (const id of [a.owner.id, boss.id]) {
      tried.push([who, "PATCH", `/members/${id}`, { name: "x" }], [who, "POST", `/members/${id}/disable`]);
      tried.push([who, "PATCH", `/members/${id}`, { group_id: a.inner.id }]);
    }
    tried.push([who, "POST", `/api_keys/${boss.keyId}/rotate`], [who, "DELETE", `/api_keys/${boss.keyId}`]);
    tried.push([who, "PATCH", `/members/${who.id}`, { group_id: a.outer.id }]);
    tried.push([who, "PUT", `/members/${who.id}/budgets/day`, { limit_usd: "1" }]);
    tried.push([who, "PUT", `/members/${who.id}/rate_limits`, {}], [who, "DELETE", `/members/${a.owner.id}/budgets/day`]);
  }
  tried.push([ada, "POST", "/api_keys", { name: "x", owner_member_id: lead.id }], [ada, "POST", `/api_keys/${lead.keyId}/rotate`]);
  for (const id of [a.owner.id, lead.id]) tried.push([boss, "PATCH", `/members/${id}`, { roles: [{ role: "owner" }] }]);
  tried.push([boss, "PATCH", `/members/${a.owner.id}`, { roles: [] }], [boss, "POST", `/members/${a.owner.id}/disable`]);
  tried.push([boss, "POST", "/invites", { roles: [{ role: "owner" }] }]);
  tried.push([boss, "POST", "/api_keys", { name: "x", kind: "admin", owner_member_id: a.owner.id }]);
  // What an object says of itself cannot be set.
  for (const extra of [
    "owner", "id", "object", "status", "disabled", "created_at", "organization_id", "owner_member_id", "__proto__", "constructor",
  ]) {
    const set = JSON.parse(`{"${extra}": true}`);
    tried.push([lead, "PATCH", `/members/${ada.id}`, set, 400]);
    tried.push([lead, "POST", "/members", { name: "x", group_id: a.inner.id, ...set }, 400]);
    tried.push([boss, "PATCH", `/groups/${a.inner.id}`, set, 400], [boss, "PATCH", "/organization", set, 400]);
    if (extra !== "status") tried.push([boss, "PATCH", `/api_keys/${a.spare.id}`, set, 400]);
  }
  for (const set of [{ kind: "admin" }, { owner_member_id: lead.id }, { secret: "mr_ak_x" }, { digest: "x" }, { redacted_value: "x" }]) {
    tried.push([boss, "PATCH", `/api_keys/${a.spare.id}`, set, 400]);
  }
  await each(tried, async ([who, method, path, body, expected]) => {
    const answer = await call(method, `/admin/v1${path}`, who.key, body);
    const shown = `${who.name}: ${method} ${path} ${JSON.stringify(body)}: ${answer.status} ${JSON.stringify(answer.body)}`;
    // `__proto__: true` is nothing at all in an object literal; as text it is a member.
    if (expected) assert.equal(answer.status, expected, shown);
    else assert.ok([403, 404].includes(answer.status), shown);
  });
  const now = await stateOf(a);
  for (const template of Object.keys(before)) {
    if (!/audit|alerts/.test(template)) assert.deepEqual(now[template], before[template], template);
  }
});

test("API4:2023 Unrestricted Resource Consumption: what is too much is refused, soon", async () => {
  const ask = admin(a);
  const large = "x".repeat(33 * 1024 * 1024), deep = `{"name":${"[".repeat(10_000)}${"]".repeat(10_000)}}`;
  const wide = `{"name":"x",${Array.from({ length: 100_000 }, (_, place) => `"m${place}":1`).join(",")}}`;
  const numbers = [
    "1e999", "-1e999", "9".repeat(400), `"${"9".repeat(400)}"`, "9007199254740993", `"0.${"0".repeat(400)}1"`, `"1e5"`, `"NaN"`,
  ];
  for (const [method, path] of [["POST", "/groups"], ["PATCH", `/members/${a.person.id}`], ["PUT", "/providers/large"]]) {
    const started = Date.now();
    assert.equal((await ask(413, method, path, large)).error.code, "body_too_large");
    for (const body of [deep, wide]) await ask(400, method, path, body);
    assert.ok(Date.now() - started < 8_000, `${method} ${path}: ${Date.now() - started} ms`);
  }
  const streamed = new ReadableStream({
    start: (stream) => { for (let place = 0; place < 33; place++) stream.enqueue(new Uint8Array(1024 * 1024).fill(0x20)); stream.close(); },
  });
  const headers = { authorization: `Bearer ${a.adminKey}` };
  const chunked = await fetch(new URL("/admin/v1/groups", here.url), { method: "POST", headers, body: streamed, duplex: "half" });
  assert.equal(chunked.status, 413, "one that does not tell its length");
  for (const number of numbers) {
    await ask(400, "PUT", `/groups/${a.outer.id}/budgets/month`, `{"limit_usd":${number}}`);
    await ask(400, "POST", "/api_keys", `{"name":"x","rpm":${number}}`);
    await told(400, "POST", `/platform/v1/organizations/${a.id}/credits`, operatorToken, `{"amount_usd":${number},"reason":"x"}`);
  }
  for (const limit of ["0", "101", "-1", "1e9", "9".repeat(30)]) await ask(400, "GET", `/ledger/entries?limit=${limit}`);
  await ask(400, "GET", "/usage?start_time=1970-01-01&bucket_width=1m");
  const long = await ask(404, "GET", `/groups/${"x".repeat(8_000)}`);
  assert.ok(JSON.stringify(long).length < 1_000, "what is long is not told back");
  // Rows have a bound.
  await ask(400, "POST", "/members", { name: "x", roles: Array(33).fill({ role: "auditor" }) });
  const hook = () => call("POST", "/admin/v1/webhook_endpoints", b.adminKey, { url: receiver.url });
  const hooks = await Promise.all(Array.from({ length: 52 }, hook));
  assert.deepEqual([...new Set(hooks.map(({ status }) => status))].sort(), [201, 400]);
  assert.equal((await admin(b)(200, "GET", "/webhook_endpoints")).data.length, 50);
  // Rates of a key.
  const { secret } = await a.make("api_keys", { name: "slow", rpm: 2 });
  const answers = [];
  for (let place = 0; place < 4; place++) answers.push(await here.ask(secret, { model: OPENAI, max_tokens: 5 }));
  assert.deepEqual(answers.map(({ status }) => status), [200, 200, 429, 429]);
  assert.match(answers[3].headers.get("retry-after"), /^\d+$/);
});

/** A member of each role that is not the owner's, of A, and what each may still do to change something. */
const ROLES = {
  billing: [{ roles: [{ role: "billing" }] }], auditor: [{ roles: [{ role: "auditor" }] }], member: [{}],
  service_account: [{ kind: "service_account" }], group_admin: [{}], // of another group
};
/** What they may do all the same, by `docs/roles.md`: keys without an owner's name are their maker's own, and billing is told of money. */
const KEYS = /api_keys$/;
const MAY = { billing: /api_keys$|\/wallet|\/webhook_endpoints|\/alerts/, auditor: KEYS, member: KEYS, group_admin: KEYS };
/** What is read of the whole organisation, and by whom: `docs/roles.md`. */
const READS = {
  "/wallet": ["billing", "auditor"], "/ledger/entries": ["billing", "auditor"], "/requests": ["billing", "auditor"],
  "/router_lift": ["billing", "auditor"], "/organization/budgets": ["billing", "auditor"],
  "/audit_logs/checkpoints": ["auditor", "group_admin"],
};

test("API5:2023 Broken Function Level Authorization: each role does what its table says", async () => {
  const other = await a.make("groups", { name: "Other" });
  const people = {};
  for (const [role, [members]] of Object.entries(ROLES)) {
    const roles = role === "group_admin" ? { group_id: other.id, roles: [{ role, scope: other.id }] } : members;
    people[role] = await staff(a, `a ${role}`, roles);
  }
  const before = await stateOf(a);
  const changing = ofAdmin().filter(({ method }) => method !== "GET");
  const all = changing.flatMap((one) => Object.keys(people).map((role) => ({ one, role })));
  const tried = all.filter(({ one, role }) => !MAY[role]?.test(one.template));
  assert.ok(tried.length > 250, `${tried.length} cases`);
  for (const [role, { key }] of Object.entries(people)) {
    await told(role === "service_account" ? 403 : 201, "POST", "/admin/v1/api_keys", key, { name: "its own" });
  }
  await each(tried, async ({ one, role }) => {
    const path = pathOf(one.template, a.ids);
    const answer = await call(one.method, path, people[role].key, bodyOf(one));
    const shown = `${role}: ${one.method} ${path}: ${answer.status} ${JSON.stringify(answer.body)}`;
    assert.ok(["role_required", "not_found"].includes(answer.body.error?.code) && [403, 404].includes(answer.status), shown);
  });
  for (const [path, readers] of Object.entries(READS)) {
    for (const [role, { key }] of Object.entries(people)) {
      await told(readers.includes(role) ? 200 : 403, "GET", `/admin/v1${path}`, key);
    }
  }
  // Nor does anybody of them open another plane.
  for (const one of operations.filter((one) => planeOf(one) === "operator")) {
    for (const { key } of Object.values(people)) await told(401, one.method, pathOf(one.template, a.ids), key, bodyOf(one));
  }
  const now = await stateOf(a);
  for (const template of Object.keys(before)) {
    if (!/audit|alerts|api_keys$/.test(template)) assert.deepEqual(now[template], before[template], template);
  }
});

test("API5:2023 Broken Function Level Authorization: who may not read the trail is not sent it", async () => {
  const { key } = await staff(a, "curious", { roles: [{ role: "billing" }] });
  await told(403, "GET", "/admin/v1/audit_logs", key);
  const hook = (events) => call("POST", "/admin/v1/webhook_endpoints", key, { url: `${receiver.url}/curious`, events });
  for (const events of [["*"], ["group.*"], ["group.created"]]) assert.ok([201, 403].includes((await hook(events)).status));
  const { id } = await a.make("groups", { name: "None of their business" });
  await until("the trail has it", async () => (await admin(a)(200, "GET", `/audit_logs?resource_id=${id}`)).data.length > 0);
  await new Promise((done) => setTimeout(done, 300));
  assert.deepEqual(receiver.received.filter(({ path }) => path === "/curious").map(({ body }) => body.type), []);
});

test("API6:2023 Unrestricted Access to Sensitive Business Flows: what is good once is done once", async () => {
  const { secret } = await a.make("invites", { name: "Once" });
  const accepted = await Promise.all(Array.from({ length: 8 }, () => call("POST", "/admin/v1/invites/accept", secret)));
  assert.deepEqual(accepted.map(({ status }) => status).sort(), [201, ...Array(7).fill(401)]);
  const wallet = async () => (await admin(a)(200, "GET", "/wallet")).credits_usd;
  const at = `/platform/v1/organizations/${a.id}`, before = Number(await wallet());
  const give = () => call("POST", `${at}/credits`, operatorToken, { amount_usd: "1", reason: "x" }, { "idempotency-key": "flow" });
  await Promise.all(Array.from({ length: 8 }, give));
  assert.equal(Number(await wallet()), before + 1);
  const refund = { entry_id: a.ids.entry_id, reason: "x" };
  const refunds = await Promise.all(Array.from({ length: 8 }, () => call("POST", `${at}/refunds`, operatorToken, refund)));
  assert.deepEqual(refunds.map(({ status }) => status).sort(), [200, ...Array(7).fill(400)]);
});

/** Hosts that lead inside, or hide where they lead. */
const INSIDE = [
  "127.0.0.1", "127.1", "127.0.0.1.", "2130706433", "0x7f000001", "0x7f.1", "017700000001", "0177.0.0.1", "0", "0.0.0.0", "10.0.0.8",
  "10.8", "172.16.0.1", "192.168.1.1", "169.254.169.254", "2852039166", "0xa9fea9fe", "100.64.0.1", "198.18.0.1", "224.0.0.1",
  "255.255.255.255", "1.1.1.1",
  "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[fe80::1]", "[fc00::1]", "[fd12::1]", "[64:ff9b::7f00:1]", "[2001:db8::1]",
  "localhost", "LOCALHOST", "localhost.", "a.localhost", "printer.local", "metadata.google.internal", "kubernetes.default.svc",
  "router.lan",
  "x.home", "x.corp", "1.0.0.127.in-addr.arpa", "intranet", "public.test:8443", "public.test:80", "public.test:", "user@public.test",
  "user:pass@public.test", "public.test\\@127.0.0.1", "public.test#@127.0.0.1", "127.0.0.1%2f.public.test", "127。0。0。1", "①②⑦.⓪.⓪.①",
  "loc\u0430lhost.test", "127.0.0.1\t", "pub\nlic.test", "pub\rlic.test", " public.test", "", ".", "..", "public..",
  "a.0x7f", "public.test:443:1",
];

test("API7:2023 Server Side Request Forgery: nothing inside is called, in no notation, and no redirect is followed", async () => {
  const { adminKey } = await strict.newOrganization();
  const body = { dialect: "openai_chat", models: [{ id: "m", input_usd_per_mtok: "1", output_usd_per_mtok: "2" }] };
  const provider = (base_url) => strict.call("PUT", "/admin/v1/providers/p", adminKey, { ...body, base_url });
  const hook = (url) => strict.call("POST", "/admin/v1/webhook_endpoints", adminKey, { url });
  const { body: made } = await hook("https://public.test/hook?token=t");
  const moved = (url) => strict.call("PATCH", `/admin/v1/webhook_endpoints/${made.id}`, adminKey, { url });
  assert.equal((await provider("https://public.test/v1")).status, 200);
  const urls = [
    ...INSIDE.flatMap((host) => [`https://${host}`, `https://${host}/v1`]), "http://public.test", "ftp://public.test", "file:///etc/passwd",
    "data:,x", "javascript:1", "//public.test", "/v1", "", "https:", "https:public.test", "gopher://public.test", "ws://public.test",
  ];
  await each(urls.flatMap((url) => [[provider, "base_url", url], [hook, "url", url], [moved, "url", url]]), async ([send, param, url]) => {
    const { status, body } = await send(url);
    assert.deepEqual([status, body.error?.param], [400, param], `${JSON.stringify(url)}: ${JSON.stringify(body)}`);
  });
  const { body: { url } } = await strict.call("GET", `/admin/v1/webhook_endpoints/${made.id}`, adminKey);
  assert.equal(url, "https://public.test/hook?…", "its token is not told again");

  // A receiver and a provider that send elsewhere.
  const ask = admin(a);
  const { id } = await ask(201, "POST", "/webhook_endpoints", { url: `${receiver.url}/moved`, events: ["test"] });
  const alert = await ask(202, "POST", `/webhook_endpoints/${id}/test`);
  const [delivery] = await until("it was tried", async () => {
    const { deliveries } = (await ask(200, "GET", "/alerts")).data.find((one) => one.id === alert.id);
    return deliveries[0].attempts > 0 && deliveries;
  });
  assert.deepEqual([delivery.status, delivery.response_status], ["pending", 302]);
  await ask(200, "PUT", "/providers/moved", { ...a.provider, base_url: `${receiver.url}/moved/v1` });
  const answer = await here.ask(a.key, { model: "moved/m" });
  assert.ok(answer.status >= 500, `${answer.status}`);
  assert.ok(receiver.received.some(({ path }) => path === "/moved/v1/chat/completions"), "it was asked");
  assert.deepEqual(receiver.received.filter(({ path }) => path === "/inside"), [], "nothing was followed");
  // Variables of the worker are none of an own provider's.
  await ask(200, "PUT", "/providers/names", { ...a.provider, base_url: `${receiver.url}/{OPERATOR_TOKEN}/{KEY_PEPPER}` });
  await here.ask(a.key, { model: "names/m" });
  const { path } = receiver.received.at(-1);
  assert.match(decodeURIComponent(path), /^\/\{OPERATOR_TOKEN\}\/\{KEY_PEPPER\}\//);
});

test("API7:2023 Server Side Request Forgery: link-local addresses are refused in every notation everywhere", async () => {
  const notations = ["2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518", "[::ffff:169.254.169.254]", "[::ffff:a9fe:a9fe]"];
  for (const host of ["169.254.169.254", "[fe80::1]", "[FE90::1]", ...notations]) {
    const answer = await call("PUT", "/admin/v1/providers/p", a.adminKey, { ...a.provider, base_url: `http://${host}/v1` });
    assert.equal(answer.status, 400, host);
  }
});

const MARK = "smuggled";
const chat = JSON.stringify({ model: OPENAI, max_tokens: 20, messages: [{ role: "user", content: "Hi." }] });

test("API8:2023 Security Misconfiguration: headers of a caller stay here, and those of a provider there", async () => {
  const names = [
    "cookie", "cf-connecting-ip", "cf-ray", "cf-ipcountry", "cf-visitor", "cf-worker", "cdn-loop", "x-forwarded-for", "x-forwarded-host",
    "x-forwarded-proto", "x-real-ip", "true-client-ip", "forwarded", "via", "te", "trailer", "proxy-authorization", "proxy-connection",
    "keep-alive", "upgrade-insecure-requests", "x-api-key", "api-key", "x-goog-api-key", "x-evil", "referer", "origin", "user-agent",
    "openai-organization", "traceparent", "x-http-method-override", "x-original-url", "x-rewrite-url", "x-host", "accept-language",
  ];
  for (const [model, stream] of [[OPENAI, false], [OPENAI, true], ["a-provider/m", false]]) {
    const marked = Object.fromEntries(names.map((name) => [name, `${MARK}-${name}`]));
    const sent = { ...marked, authorization: `Bearer ${a.key}`, "content-type": "application/json" };
    const answer = await plainly("POST", "/v1/chat/completions", sent, JSON.stringify({ ...JSON.parse(chat), model, stream }));
    assert.equal(answer.status, 200, answer.text);
    assert.ok(!answer.text.includes(MARK) && !JSON.stringify(answer.headers).includes(MARK), JSON.stringify(answer.headers));
    const { headers } = (await here.sandbox.seen(model.startsWith("a-") ? "a" : "openai")).last_request;
    const shown = JSON.stringify(headers);
    assert.ok(!shown.includes(MARK) && !shown.includes(a.key.slice(0, 12)), shown);
    for (const name of ["cookie", "x-forwarded-for", "forwarded", "x-api-key", "x-evil"]) assert.equal(headers[name], undefined, shown);
  }
  await admin(a)(200, "PUT", "/providers/loud", { ...a.provider, base_url: `${receiver.url}/loud` });
  const loud = await here.ask(a.key, { model: "loud/m" });
  assert.equal(loud.status, 200, JSON.stringify(loud.body));
  for (const name of ["set-cookie", "server", "x-powered-by", "location", "access-control-allow-origin"]) {
    assert.equal(loud.headers.get(name), null, name);
  }
  assert.match(loud.headers.get("x-request-id"), /^req_/);
  assert.notEqual(loud.headers.get("x-megarouter-cost-usd"), "0");
  assert.equal(loud.headers.get("x-content-type-options"), "nosniff");
  const page = await call("GET", "/admin/v1/wallet", a.adminKey, undefined, { origin: "https://evil.test" });
  assert.equal(page.headers.get("access-control-allow-credentials"), null, "no page is given a cookie's power");
});

test("API8:2023 Security Misconfiguration: line breaks make no header, here or at a provider", async () => {
  const head = (more) => rawly(`POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: ${chat.length}\r\nconnection: close\r\n`
    + `content-type: application/json\r\nauthorization: Bearer ${a.key}\r\n${more}\r\n\r\n${chat}`);
  for (const value of ["a\rx-evil: 1", "a\nx-evil: 1", "a\0b", "a\r\n x-evil: 1"]) {
    for (const name of ["x-megarouter-session", "user-agent", "origin"]) {
      const text = await head(`${name}: ${value}`);
      const [first] = text.split("\r\n\r\n");
      assert.ok(!/^x-evil/im.test(first), text);
      assert.match(text, /^(HTTP\/1\.1 (200|400)|$)/, text);
    }
  }
  const line = "%0d%0ax-evil:%201";
  for (const path of [`/admin/v1/groups/${line}`, `/v1/models/a${line}`, `/v1/receipts/${line}`, `/${line}`]) {
    const { status, headers } = await call("GET", path, a.adminKey);
    assert.ok(status === 404 || status === 401, `${path} ${status}`);
    assert.equal(headers.get("x-evil"), null);
  }
  for (const credential of ["k\r\nx-evil: 1", "k\nx-evil: 1", "k\rx-evil: 1", "k\0"]) {
    const provider = { ...a.provider, base_url: `${sandboxUrl}/broken`, credential };
    const put = await call("PUT", "/admin/v1/providers/broken", a.adminKey, provider);
    if (put.status !== 400) assert.ok((await here.ask(a.key, { model: "broken/m" })).status >= 500);
  }
  assert.equal((await here.sandbox.seen("broken")).calls, 0, "nothing was sent with it");
  const smuggled = await rawly("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n"
    + "0\r\n\r\nGET /admin/v1/wallet HTTP/1.1\r\nhost: x\r\n\r\n");
  assert.match(smuggled, /^(HTTP\/1\.1 400|$)/, smuggled);
});

test("API8:2023 Security Misconfiguration: nobody writes lines into the log", async () => {
  const evil = "\u001b[31mEVIL\nEVIL-LINE {\"level\":\"error\"}\r\nEVIL";
  const send = (method, path, body, key = a.adminKey) => call(method, path, key, body);
  await Promise.all([
    send("POST", "/admin/v1/groups", { name: evil }), send("POST", "/admin/v1/members", { name: evil, email: evil }),
    send("POST", "/admin/v1/api_keys", { name: evil }), send("POST", "/admin/v1/invites", { name: evil }),
    send("POST", "/admin/v1/groups", evil), send("POST", "/admin/v1/webhook_endpoints", { url: `${receiver.url}/gone`, description: evil }),
    send("POST", "/platform/v1/organizations", { name: evil }, operatorToken), send("GET", `/admin/v1/groups/${encodeURIComponent(evil)}`),
    send("POST", `/platform/v1/reconcile?organization=${encodeURIComponent(evil)}`, undefined, operatorToken),
    send("POST", `/platform/v1/organizations/${encodeURIComponent(evil)}/credits`, { amount_usd: "1", reason: evil }, operatorToken),
    send("POST", "/v1/chat/completions", { model: evil, messages: [{ role: "user", content: evil }] }, a.key),
    send("POST", "/v1/feedback", { request_id: evil, score: 1 }, a.key),
    send("GET", `/v1/receipts/${encodeURIComponent(evil)}`, undefined, a.key),
    send("PUT", `/admin/v1/providers/${encodeURIComponent(evil)}`, a.provider),
    send("PUT", "/platform/v1/catalog", evil, operatorToken), send("GET", `/admin/v1/audit_logs?actor_id=${encodeURIComponent(evil)}`),
  ]);
  // A line of the log that there is: a provider refuses its credential, in words of its own.
  await here.sandbox.set("a", { status: 401, body: JSON.stringify({ error: { message: evil } }), times: 2 });
  await here.ask(a.key, { model: "a-provider/m", user: evil }, { headers: { "user-agent": "EVIL" } });
  await until("the log tells of it", () => log().some((line) => line.includes("refused our credential")));
  const named = `user-agent: \u001b[31mEVIL\r\nauthorization: Bearer ${a.adminKey}\r\n`;
  await rawly(`GET /admin/v1/wallet HTTP/1.1\r\nhost: x\r\nconnection: close\r\n${named}\r\n`);
  assert.deepEqual(log().filter((line) => /EVIL|\u001b\[31mE/.test(line)), []);
  // Where it is told again, it is told as JSON tells it.
  const shown = await fetch(new URL("/admin/v1/groups", here.url), { headers: { authorization: `Bearer ${a.adminKey}` } });
  const text = await shown.text();
  assert.ok(text.includes("\\u001b[31mEVIL\\n") && !/[\u0000-\u001f]/.test(text), "no raw control byte");
});

test("API9:2023 Improper Inventory Management: what is not documented is not there", async () => {
  for (const path of [
    "/", "/v2/chat/completions", "/v0/models", "/v1", "/v1/", "/v1beta/models", "/admin", "/admin/v1", "/admin/v2/wallet",
    "/admin/wallet", "/platform", "/platform/v1", "/platform/v2/catalog", "/ADMIN/V1/WALLET", "/Admin/v1/wallet", "//admin/v1/wallet",
    "/admin//v1/wallet", "/admin/v1/wallet/..%2f", "/admin/v1/wallet.json", "/admin/v1/wallet%00", "/admin/v1/wallet;x",
    "/v1/admin/v1/wallet", "/internal", "/debug", "/debug/pprof", "/metrics", "/.env", "/.git/config", "/openapi.json", "/swagger",
    "/docs", "/graphql", "/actuator/env", "/cdn-cgi/trace", "/__scheduled", "/admin/v1/api_keys/x/secret",
    "/admin/v1/organization/budgets/year", "/admin/v1/members/x/member_defaults", "/admin/v1/members/x/keys",
  ]) {
    const { status, text } = await plainly("GET", path, { authorization: `Bearer ${a.adminKey}` });
    assert.equal(status, 404, `${path}: ${status} ${text.slice(0, 200)}`);
  }
  for (const [template, item] of Object.entries(document.paths)) {
    const here = operations.filter((one) => one.template === template).map(({ method }) => method);
    if (here.length === 0) continue;
    const path = pathOf(template, a.ids);
    for (const method of [...METHODS.filter((one) => !item[one]).map((one) => one.toUpperCase()), "HEAD", "PROPFIND", "TRACE"]) {
      const { status, headers, text } = await plainly(method, path, { authorization: `Bearer ${a.adminKey}` });
      // The runtime itself has no word for some methods.
      if (["PROPFIND", "TRACE"].includes(method) && [400, 405, 501].includes(status) && !headers.allow) continue;
      assert.equal(status, 405, `${method} ${path}: ${status} ${text}`);
      assert.deepEqual(headers.allow.split(", ").sort(), here.sort(), `${method} ${path}`);
    }
  }
});

test("API10:2023 Unsafe Consumption of APIs: what a provider says is not believed blindly", async () => {
  const c = await here.newOrganization();
  const model = await here.newProvider(c, "wild");
  const wallet = async () => (await call("GET", "/admin/v1/wallet", c.adminKey)).body;
  const available = async () => Number((await wallet()).available_usd);
  for (const usage of [
    { prompt_tokens: 1e15, completion_tokens: 1e15, total_tokens: 2e15 }, { prompt_tokens: -5, completion_tokens: -1e9, total_tokens: -6 },
    { prompt_tokens: "many", completion_tokens: null, total_tokens: [] }, { prompt_tokens: 1e308, completion_tokens: 0.5 },
  ]) {
    const before = await available();
    await here.sandbox.set("wild", { usage });
    const answer = await here.ask(c.key, { model, max_tokens: 20 });
    assert.ok(answer.status < 600 && answer.status !== 500, JSON.stringify(answer.body));
    await until("it is booked", async () => (await wallet()).held_usd === "0");
    const after = await available();
    const shown = `${JSON.stringify(usage)}: ${before - after} USD for an answer of 20 tokens`;
    assert.ok(after <= before && after >= 0 && before - after < 0.01, shown);
  }
  // An answer of many megabytes, of no sense; see chaos.test.mjs, faults.test.mjs and raw.test.mjs for what else goes wrong there.
  await here.sandbox.set("wild", { status: 200, body: `{"choices":"${"x".repeat(8 * 1024 * 1024)}"}` });
  const large = await here.ask(c.key, { model });
  assert.deepEqual([large.status, JSON.stringify(large.body).length < 2_000], [502, true], JSON.stringify(large.body).slice(0, 300));
  await here.sandbox.set("wild", { status: 500, body: `secret of the provider <script>alert(1)</script>` });
  const failed = await here.ask(c.key, { model });
  assert.ok(failed.status >= 500 && !JSON.stringify(failed.body).includes("secret of"), JSON.stringify(failed.body));
  await here.sandbox.set("wild", {});
  assert.equal((await here.ask(c.key, { model })).status, 200, "it goes on");
});

// ---- and all along ----------------------------------------------------------------------------------------------

test("no key, credential, token or pepper stands in the log or in a refusal", async () => {
  const lines = log().join("\n");
  const counts = `${secrets.size} secrets, ${refusals.length} refusals`;
  assert.ok(secrets.size > 30 && refusals.length > 2_000 && lines.includes("refused our credential"), counts);
  const texts = [["the log", lines], ["a refusal", refusals.join("\n")]];
  const { data } = await admin(a)(200, "GET", "/audit_logs?limit=100");
  const hooks = receiver.received.filter(({ headers }) => headers["webhook-id"]);
  assert.ok(hooks.length > 0);
  texts.push(["the trail", JSON.stringify(data)], ["what was sent to webhooks", JSON.stringify(hooks)]);
  for (const [where, text] of texts) {
    for (const secret of secrets) assert.ok(!text.includes(secret), `${secret.slice(0, 12)}… in ${where}`);
  }
});

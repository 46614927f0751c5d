// Governance over HTTP: groups with budgets, invites, keys that change, alerts that arrive signed, and the trail of all of it.
import assert from "node:assert/strict";
import { createHash, createHmac, createPublicKey, verify } from "node:crypto";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { code, dear, start, until } from "./harness.mjs";

let here, own, receiver, labs, search, deep, sales, ada, lead;
/** Every secret that was ever told: none may stand in the trail or in an alert. */
const secrets = new Set(["provider-credential"]);

before(async () => {
  [here, receiver] = await Promise.all([start({ vars: { OUTBOX_FLUSH_MS: "50" } }), receive()]);
  own = await here.newOrganization({ name: "Acme" });
  secrets.add(own.adminKey).add(own.key);
  await here.newProvider(own, "acme", { credential: "provider-credential", models: [dear] });
});
after(async () => {
  receiver.server.close();
  await here.close();
});

/** Asks the admin plane, and remembers the secrets it tells. */
async function admin(method, path, body, { key = own.adminKey, headers } = {}) {
  const answer = await here.call(method, `/admin/v1${path}`, key, body, headers);
  for (const secret of [answer.body?.secret, answer.body?.admin_key?.secret]) if (secret) secrets.add(secret);
  return answer;
}

async function made(path, body, more) {
  const { status, body: told } = await admin("POST", path, body, more);
  assert.equal(status, 201, JSON.stringify(told));
  return told;
}

async function put(path, body) {
  const { status, body: told } = await admin("PUT", path, body);
  assert.equal(status, 200, JSON.stringify(told));
  return told;
}

const listed = async (path, more) => {
  const { status, body } = await admin("GET", path, undefined, more);
  assert.equal(status, 200, JSON.stringify(body));
  return body.data;
};

const asks = (key, members = {}) => here.ask(key, { model: "acme/m", max_tokens: 5, ...members });
/** A call and its status; it is booked when its answer is there. */
const status = async (key) => (await asks(key)).status;

/** Somebody's server that takes webhooks: `hits` of a path, and `plan(path, statuses)` for what it answers before 204. */
async function receive() {
  const hits = [], plans = new Map();
  const server = createServer(async (request, response) => {
    let body = "";
    for await (const chunk of request) body += chunk;
    const { "webhook-id": id, "webhook-timestamp": timestamp, "webhook-signature": signature, "content-type": type } = request.headers;
    hits.push({ path: request.url, at: Date.now(), id, timestamp, signatures: signature.split(" "), type, body, event: JSON.parse(body) });
    response.writeHead(plans.get(request.url)?.shift() ?? 204).end();
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  return {
    server,
    url: (path) => `http://127.0.0.1:${server.address().port}${path}`,
    plan: (path, statuses) => plans.set(path, statuses),
    hits: (path, type) => hits.filter((hit) => hit.path === path && (!type || hit.event.type === type)),
    all: hits,
  };
}

/** The place of the signature that a secret makes among those that came, as the Standard Webhooks specification has them. */
function place({ id, timestamp, body, signatures }, secret) {
  const key = Buffer.from(secret.replace(/^whsec_/, ""), "base64");
  return signatures.indexOf(`v1,${createHmac("sha256", key).update(`${id}.${timestamp}.${body}`).digest("base64")}`);
}

test("a tree of three levels has budgets, and who is invited calls under all of them", async () => {
  labs = await made("/groups", { name: "Labs", cost_center: "CC-1" });
  search = await made("/groups", { name: 'Search "€"', parent_id: labs.id });
  deep = await made("/groups", { name: "Deep", parent_id: search.id });
  sales = await made("/groups", { name: "Sales" });
  assert.deepEqual([deep.depth, deep.path], [3, [labs, search, deep].map(({ id }) => id).join("/")]);
  const scopes = ["organization", ...[labs, search, deep, sales].map(({ id }) => `groups/${id}`)];
  for (const [place, scope] of scopes.entries()) await put(`/${scope}/budgets/month`, { limit_usd: String(100 - place) });
  await put(`/groups/${search.id}/member_defaults`, { budgets: { month: { limit_usd: "9" } }, rate_limits: { rpm: 500 } });

  const invite = await made("/invites", { name: "Ada", email: "ada@acme.test", group_id: deep.id, expires_in_seconds: 3600 });
  assert.deepEqual([invite.status, invite.secret.slice(0, 6)], ["open", "mr_in_"]);
  const holds = { key: invite.secret };
  assert.deepEqual(code(await admin("GET", "/groups", undefined, holds)), [401, "wrong_key_kind"]);
  const accepted = await made("/invites/accept", { name: "Ada L" }, holds);
  ada = { ...accepted.member, adminKey: accepted.admin_key.secret };
  assert.deepEqual([ada.name, ada.group_id, ada.email], ["Ada L", deep.id, "ada@acme.test"]);
  assert.deepEqual(code(await admin("POST", "/invites/accept", {}, holds)), [401, "revoked_key"]);
  assert.equal((await listed("/invites")).find(({ id }) => id === invite.id).status, "accepted");

  const hers = { key: ada.adminKey };
  const key = await made("/api_keys", { name: "ada" }, hers);
  assert.equal(key.owner_member_id, ada.id);
  const [owner] = await listed("/members");
  assert.equal((await admin("POST", "/api_keys", { name: "x", owner_member_id: owner.id }, hers)).status, 403);
  const answer = await asks(key.secret);
  assert.equal(answer.status, 200, JSON.stringify(answer.body));
  const cost = answer.headers.get("x-megarouter-cost-usd");
  ada.keyId = key.id;
  ada.key = key.secret;
  await until("the call is booked on its path", async () => {
    for (const scope of [...scopes.slice(0, 4), `members/${ada.id}`]) {
      const { body } = await admin("GET", `/${scope}/budgets/month`);
      assert.equal(body.state.posted_usd, cost, scope);
    }
    return true;
  });
  assert.equal((await admin("GET", `/groups/${sales.id}/budgets/month`)).body.state.posted_usd, "0");
  const { body: limits } = await admin("GET", `/members/${ada.id}/rate_limits`);
  assert.equal(limits.rpm, 500, "what new members get in the group above");
  const told = await until("it is told", async () => {
    const { body } = await admin("GET", "/costs?group_by=group,member");
    return body.data.flatMap(({ results }) => results).find(({ member_id: id }) => id === ada.id);
  });
  assert.deepEqual([told.group_id, told.requests, told.amount_usd], [deep.id, 1, cost]);
});

test("a key gets a new secret, with a grace and without", async () => {
  const key = await made("/api_keys", { name: "turns" });
  const rotate = async (body) => {
    const { status, body: told } = await admin("POST", `/api_keys/${key.id}/rotate`, body);
    assert.deepEqual([status, told.id], [200, key.id], JSON.stringify(told));
    return told.secret;
  };
  const second = await rotate({ grace_seconds: 2 });
  assert.notEqual(second, key.secret);
  assert.deepEqual([await status(key.secret), await status(second)], [200, 200]);
  await until("the grace is over", async () => (await status(key.secret)) === 401, { ms: 4000 });
  const third = await rotate();
  assert.deepEqual([code(await asks(second)), await status(third)], [[401, "invalid_key"], 200]);
  assert.deepEqual(code(await admin("POST", `/api_keys/${key.id}/rotate`, { grace_seconds: 86_401 })), [400, "invalid_parameter"]);
});

test("a key is shut for a while, and opened again", async () => {
  const key = await made("/api_keys", { name: "door", rpm: 100 });
  const patch = async (body) => (await admin("PATCH", `/api_keys/${key.id}`, body)).body;
  assert.equal(await status(key.secret), 200);
  const shut = await patch({ status: "disabled", rpm: null });
  assert.deepEqual([shut.status, shut.rpm], ["disabled", null]);
  assert.deepEqual(code(await asks(key.secret)), [403, "key_disabled"]);
  assert.equal((await patch({ status: "active" })).status, "active");
  assert.equal(await status(key.secret), 200);
  const { body: told } = await admin("GET", `/api_keys/${key.id}`);
  assert.ok(Date.now() - Date.parse(told.last_used_at) < 60_000, told.last_used_at);
});

test("what comes twice with its Idempotency-Key is done once", async () => {
  const once = (body, name = "once-1") => admin("POST", "/api_keys", body, { headers: { "idempotency-key": name } });
  const [first, again] = [await once({ name: "one" }), await once({ name: "one" })];
  assert.deepEqual([first.status, again.status, again.body], [201, 201, first.body], "the same id and the same secret");
  assert.equal(await status(again.body.secret), 200);
  assert.deepEqual(code(await once({ name: "two" })), [409, "idempotency_key_reused"]);
  assert.notEqual((await once({ name: "one" }, "once-2")).body.id, first.body.id);
  assert.equal((await listed("/api_keys")).filter(({ name }) => name === "one").length, 2);
});

test("what changed meanwhile is not changed again", async () => {
  const path = `/groups/${sales.id}`;
  const tag = (await admin("GET", path)).headers.get("etag");
  assert.match(tag, /^"[0-9a-f]{32}"$/);
  const patch = (name, match) => admin("PATCH", path, { name }, { headers: { "if-match": match } });
  const first = await patch("Sales EU", tag);
  assert.deepEqual([first.status, first.headers.get("etag") === tag], [200, false]);
  assert.deepEqual(code(await patch("Sales US", tag)), [412, "etag_mismatch"]);
  assert.equal((await patch("Sales", first.headers.get("etag"))).status, 200);
  const budget = `${path}/budgets/month`;
  assert.deepEqual(code(await admin("DELETE", budget, undefined, { headers: { "if-match": tag } })), [412, "etag_mismatch"]);
  assert.equal((await admin("DELETE", budget, undefined, { headers: { "if-match": "*" } })).status, 200);
});

test("80 % of a budget is told once, signed, also with a new secret", async () => {
  const hook = await made("/webhook_endpoints", { url: receiver.url("/money"), group_id: labs.id });
  await made("/webhook_endpoints", { url: receiver.url("/sales"), group_id: sales.id });
  await put(`/groups/${search.id}/budgets/day`, { limit_usd: "0.05", mode: "soft", thresholds: [80] });
  const posted = async () => Number((await admin("GET", `/groups/${search.id}/budgets/day`)).body.state.posted_usd);
  for (let calls = 0; await posted() < 0.04; calls++) {
    assert.ok(calls < 20);
    assert.equal(await status(ada.key), 200);
  }
  const [hit] = await until("the alert is there", () => {
    const hits = receiver.hits("/money", "budget.threshold_reached");
    return hits.length > 0 && hits;
  });
  const { scope, threshold, window, limit_usd: limit, posted_usd: spent, resets_at: ends } = hit.event.data;
  assert.deepEqual([scope, threshold, window, limit], [{ type: "group", id: search.id, name: 'Search "€"' }, 80, "day", "0.05"]);
  assert.ok(Number(spent) >= 0.04 && Date.parse(ends) > Date.now(), JSON.stringify(hit.event));
  assert.deepEqual([hit.type, place(hit, hook.secret)], ["application/json", 0]);
  assert.ok(Math.abs(hit.timestamp - Date.now() / 1000) < 30 && hit.id.startsWith("evt_"));

  const rotated = await admin("POST", `/webhook_endpoints/${hook.id}/rotate_secret`);
  assert.equal(rotated.status, 200);
  assert.equal((await admin("POST", `/webhook_endpoints/${hook.id}/test`)).status, 202);
  const [tried] = await until("the test is there", () => receiver.hits("/money", "test").length && receiver.hits("/money", "test"));
  assert.deepEqual([place(tried, rotated.body.secret), place(tried, hook.secret)], [0, 1], "the new secret signs first, the old one too");
  assert.equal(place({ ...tried, body: tried.body.replace("test", "tost") }, rotated.body.secret), -1);

  assert.equal(await status(ada.key), 200);
  await until("it counts as delivered", async () => {
    const alert = (await listed("/alerts")).find(({ id }) => id === hit.id);
    return alert.deliveries.length === 1 && alert.deliveries[0].status === "delivered" && alert.deliveries[0].endpoint_id === hook.id;
  });
  assert.equal(receiver.hits("/money", "budget.threshold_reached").length, 1, "once");
  assert.equal(receiver.hits("/sales").length, 0, "nothing happened there");
});

test("who fails is asked again after five seconds, and who is gone is not", async () => {
  receiver.plan("/flaky", [500]);
  receiver.plan("/gone", [410]);
  const flaky = await made("/webhook_endpoints", { url: receiver.url("/flaky"), events: ["test"] });
  const gone = await made("/webhook_endpoints", { url: receiver.url("/gone"), events: ["test", "member.created"] });
  const alerts = [];
  for (const { id } of [flaky, gone]) alerts.push((await admin("POST", `/webhook_endpoints/${id}/test`)).body.id);
  const stands = async (id) => (await listed("/alerts")).find((alert) => alert.id === id).deliveries[0];
  await until("it is taken out", async () => (await admin("GET", `/webhook_endpoints/${gone.id}`)).body.status === "disabled");
  const { status: dead, response_status: answered } = await stands(alerts[1]);
  assert.deepEqual([dead, answered], ["failed", 410]);
  const waits = await stands(alerts[0]);
  assert.deepEqual([waits.status, waits.attempts, waits.response_status], ["pending", 1, 500]);
  await made("/members", { name: "Nobody hears of it" });
  await until("it is tried again", async () => (await stands(alerts[0])).status === "delivered", { ms: 9000 });
  const [first, second, ...more] = receiver.hits("/flaky");
  assert.deepEqual([first.id, second.id, more.length], [alerts[0], alerts[0], 0]);
  assert.ok(second.at - first.at > 4000 && second.at - first.at < 8000, String(second.at - first.at));
  assert.equal(receiver.hits("/gone").length, 1);
});

test("a low balance is told once, and a payment too", async () => {
  await made("/webhook_endpoints", { url: receiver.url("/wallet"), events: ["wallet.*"] });
  const { available_usd: left } = (await admin("GET", "/wallet")).body;
  const set = await admin("PATCH", "/wallet", { low_balance_alert_usd: left });
  assert.deepEqual([set.status, set.body.low_balance_alert_usd], [200, left]);
  for (let call = 0; call < 2; call++) assert.equal(await status(own.key), 200);
  const low = () => receiver.hits("/wallet", "wallet.low_balance");
  await until("it is told", () => low().length > 0);
  assert.equal(low()[0].event.data.threshold_usd, left);
  assert.ok(Number(low()[0].event.data.available_usd) < Number(left));
  const credits = `/platform/v1/organizations/${own.id}/credits`;
  const credit = await here.call("POST", credits, here.operatorToken, { amount_usd: "5", reason: "more" });
  assert.ok(credit.status < 300, JSON.stringify(credit.body));
  await until("that is told too", () => receiver.hits("/wallet", "wallet.topped_up").length > 0);
  assert.equal(low().length, 1);
});

/** All rows an admin sees, the oldest first. */
async function trail(query = "", key = own.adminKey) {
  const rows = [];
  for (let after = "";;) {
    const { status, body } = await admin("GET", `/audit_logs?limit=10${query}${after}`, undefined, { key });
    assert.equal(status, 200, JSON.stringify(body));
    rows.push(...body.data);
    if (!body.has_more) return rows.reverse();
    after = `&after=${body.last_id}`;
  }
}

/** The hash of a row: of the ledger's entry that it tells, whose note is what stands between `at` and `prev_hash`. */
function sealed({ object, id, seq, at, prev_hash, hash, ...note }) {
  const entry = {
    seq, id, kind: "audit", at: Date.parse(at), amount_usd: "0", legs: [], note: JSON.stringify(note), prev_hash, hash: "",
  };
  return createHash("sha256").update(JSON.stringify(entry)).digest("hex");
}

/** RFC 8785, for a flat object of texts and whole numbers. */
const canonical = (payload) => JSON.stringify(Object.fromEntries(Object.entries(payload).sort(([a], [b]) => (a < b ? -1 : 1))));

test("the trail is whole, in order, sealed and signed", async () => {
  const [checkpoint] = await listed("/audit_logs/checkpoints");
  const { seq, hash, organization_id: organization } = checkpoint.payload;
  const rows = await until("the trail reaches the checkpoint", async () => {
    const rows = await trail();
    return rows.at(-1).seq >= seq && rows;
  });
  assert.deepEqual(rows.map((row) => row.seq), rows.map((_, place) => place + 1));
  let last = "0".repeat(64);
  for (const row of rows) {
    assert.deepEqual([row.prev_hash, row.hash], [last, sealed(row)], JSON.stringify(row));
    last = row.hash;
  }
  assert.notEqual(sealed({ ...rows[3], decision: "denied" }), rows[3].hash);
  assert.deepEqual([rows[seq - 1].hash, organization], [hash, own.id]);
  const { body: keys } = await here.call("GET", "/.well-known/megarouter-keys.json");
  const { kty, crv, x } = keys.keys.find(({ key_id: id }) => id === checkpoint.key_id);
  const key = createPublicKey({ key: { kty, crv, x }, format: "jwk" });
  const holds = (payload) => verify(null, Buffer.from(canonical(payload)), key, Buffer.from(checkpoint.signature, "base64url"));
  assert.deepEqual([holds(checkpoint.payload), holds({ ...checkpoint.payload, seq: seq + 1 })], [true, false]);
});

test("the trail says who did what, from what to what, and is asked by each", async () => {
  const renamed = await trail(`&event_type=group.updated&resource_id=${sales.id}`);
  assert.deepEqual(renamed.map(({ before, after }) => [before, after]), [
    [{ name: "Sales" }, { name: "Sales EU" }], [{ name: "Sales EU" }, { name: "Sales" }],
  ]);
  const { actor, resource, scopes, decision } = renamed[0];
  assert.deepEqual([resource.type, scopes, decision], ["group", [`group:${sales.id}`, "organization"], "allowed"]);
  assert.ok(actor.member_id.startsWith("mem_") && actor.api_key_id.startsWith("key_") && actor.user_agent);
  const hers = await trail(`&actor_id=${ada.id}`);
  const done = hers.filter((row) => row.decision === "allowed").map((row) => [row.type, row.resource.id]);
  assert.deepEqual(done.map(([type]) => type), ["api_key.created", "invite.accepted"]);
  assert.equal(done[0][1], ada.keyId);
  assert.deepEqual((await trail("&event_type=api_key.rotated")).length, 2, "the third was refused");
  const [{ before, after }] = await trail(`&event_type=invite.accepted`);
  assert.deepEqual([before, after.member.id], [null, ada.id]);
  const from = renamed[1].at;
  const later = await trail(`&from=${from.replace(/\.\d+/, "")}`);
  assert.ok(later.length > 5 && later.every(({ at }) => at.slice(0, 19) >= from.slice(0, 19)));
  const earlier = await trail(`&to=${from.replace(/\.\d+/, "")}`);
  assert.equal(earlier.length + later.length, (await trail()).length);
  assert.deepEqual(code(await admin("GET", "/audit_logs?from=yesterday")), [400, "invalid_parameter"]);
  assert.deepEqual(code(await admin("GET", "/audit_logs?colour=red")), [400, "invalid_parameter"]);
});

test("the trail is shown as far as roles reach", async () => {
  lead = await made("/members", { name: "Lead", group_id: search.id, roles: [{ role: "group_admin", scope: search.id }] });
  lead.key = (await made("/api_keys", { name: "lead", kind: "admin", owner_member_id: lead.id })).secret;
  assert.equal((await admin("PATCH", `/groups/${deep.id}`, { name: "Deeper" }, { key: lead.key })).status, 200);
  assert.equal((await admin("PATCH", `/groups/${labs.id}`, { name: "Mine" }, { key: lead.key })).status, 404);
  const more = await admin("PUT", `/groups/${search.id}/budgets/month`, { limit_usd: "999" }, { key: lead.key });
  assert.deepEqual(code(more), [403, "role_required"]);
  const seen = await until("its own acts are there", async () => {
    const rows = await trail("", lead.key);
    return rows.some(({ decision }) => decision === "denied") && rows;
  });
  const strange = seen.filter(({ scopes }) => !scopes.includes(`group:${search.id}`));
  assert.deepEqual(strange.map(({ type, scopes }) => [type, scopes]), []);
  assert.ok(seen.some(({ type, resource: { id } }) => type === "group.created" && id === deep.id));
  assert.ok(seen.length < (await trail()).length / 2);
  const refused = seen.find(({ decision }) => decision === "denied");
  assert.deepEqual([refused.actor.member_id, refused.type.split(".")[0], refused.before, refused.after], [lead.id, "budget", null, null]);
  assert.deepEqual(code(await admin("GET", "/audit_logs", undefined, { key: ada.adminKey })), [403, "role_required"]);
  assert.deepEqual(code(await admin("GET", "/audit_logs/checkpoints", undefined, { key: ada.adminKey })), [403, "role_required"]);
});

test("no secret stands in the trail, in an alert, or in what was sent", async () => {
  assert.ok(secrets.size > 15, String(secrets.size));
  const told = JSON.stringify([await trail(), await listed("/alerts"), receiver.all]);
  for (const secret of secrets) assert.ok(!told.includes(secret), secret.slice(0, 10));
  assert.doesNotMatch(told, /mr_(sk|ak|in)_[0-9a-z]{10}|whsec_/);
});

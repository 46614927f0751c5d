// Roles over HTTP: an admin key may do what its owner's roles open, on the object it means.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { code, start, until } from "./harness.mjs";

let here, own, lead, labs, sales;
before(async () => {
  here = await start();
  own = await here.newOrganization({ name: "Acme" });
  const made = async (rows, body) => {
    const answer = await admin("POST", rows, body);
    assert.equal(answer.status, 201, JSON.stringify(answer.body));
    return answer.body;
  };
  labs = await made("/groups", { name: "Labs" });
  sales = await made("/groups", { name: "Sales" });
  lead = await made("/members", { name: "Lead", group_id: labs.id, roles: [{ role: "group_admin", scope: labs.id }] });
  lead.key = (await made("/api_keys", { name: "lead", kind: "admin", owner_member_id: lead.id })).secret;
});
after(() => here.close());

const admin = (method, path, body, key = own.adminKey) => here.call(method, `/admin/v1${path}`, key, body);
const leads = (method, path, body) => admin(method, path, body, lead.key);

test("a group admin runs its group, and nothing else", async () => {
  assert.deepEqual(lead.roles, [{ role: "group_admin", scope: labs.id }]);
  const team = await leads("POST", "/groups", { name: "Team", parent_id: labs.id });
  assert.equal(team.status, 201, JSON.stringify(team.body));
  const ada = await leads("POST", "/members", { name: "Ada", group_id: team.body.id });
  assert.deepEqual([ada.status, ada.body.roles], [201, [{ role: "member", scope: "organization" }]]);
  const key = await leads("POST", "/api_keys", { name: "ada", owner_member_id: ada.body.id });
  assert.equal(key.status, 201);
  assert.equal((await here.ask(key.body.secret, { model: "auto", messages: [{ role: "user", content: "Hi." }], max_tokens: 20 })).status, 200);
  const limit = { limit_usd: "1" };
  assert.equal((await leads("PUT", `/members/${ada.body.id}/budgets/day`, limit)).status, 200);
  for (const [path, expected] of [
    [`/groups/${labs.id}/budgets/day`, 403], ["/organization/budgets/day", 403], [`/groups/${sales.id}/budgets/day`, 404],
  ]) {
    const answer = await leads("PUT", path, limit);
    assert.equal(answer.status, expected, JSON.stringify([path, answer.body]));
    if (expected === 403) assert.match(answer.body.error.message, /group_admin, member.*budgets.*takes one of owner, admin/);
  }
  assert.deepEqual(code(await leads("POST", "/api_keys", { name: "x", kind: "admin" })), [403, "role_required"]);
  assert.deepEqual(code(await leads("GET", "/wallet")), [403, "role_required"]);
  assert.deepEqual(code(await leads("GET", "/ledger/entries")), [403, "role_required"]);
  assert.deepEqual(code(await leads("GET", "/requests")), [403, "role_required"]);
  assert.deepEqual(code(await leads("PATCH", `/members/${lead.id}`, { roles: [{ role: "admin" }] })), [403, "role_required"]);
  const seen = await leads("GET", "/members");
  assert.deepEqual(seen.body.data.map(({ name }) => name).sort(), ["Ada", "Lead"]);
});

test("the ledger is for those who may read what was spent", async () => {
  const eye = await admin("POST", "/members", { name: "Eye", roles: [{ role: "auditor" }] });
  const key = await admin("POST", "/api_keys", { name: "eye", kind: "admin", owner_member_id: eye.body.id });
  const entries = await until("there is an entry", async () => {
    const { status, body } = await admin("GET", "/ledger/entries", undefined, key.body.secret);
    assert.equal(status, 200, JSON.stringify(body));
    return body.data.some(({ kind }) => kind === "usage") ? body.data : null;
  });
  const id = entries.find(({ kind }) => kind === "usage").id;
  assert.equal((await admin("GET", `/ledger/entries/${id}`, undefined, key.body.secret)).status, 200);
  assert.deepEqual(code(await leads("GET", `/ledger/entries/${id}`)), [403, "role_required"]);
  assert.deepEqual(code(await admin("PUT", "/organization/budgets/day", { limit_usd: "9" }, key.body.secret)), [403, "role_required"]);
});

test("what was spent is told in buckets, by who and what, as far as it may be seen", async () => {
  const mine = await here.ask(own.key, { model: "openai/gpt-5-nano", messages: [{ role: "user", content: "Hi." }], max_tokens: 20 });
  assert.equal(mine.status, 200);
  const total = await until("both calls are told", async () => {
    const { status, body } = await admin("GET", "/costs?bucket_width=1d&group_by=group,member");
    assert.equal(status, 200, JSON.stringify(body));
    const results = body.data.flatMap((bucket) => bucket.results);
    return results.reduce((sum, { requests }) => sum + requests, 0) === 2 ? body : null;
  });
  assert.deepEqual([total.object, total.data[0].object, total.has_more], ["list", "bucket", false]);
  const results = total.data[0].results;
  assert.equal(results.length, 2, JSON.stringify(results));
  const wallet = (await admin("GET", "/wallet")).body;
  const nanos = (usd) => Math.round(Number(usd) * 1e9);
  assert.equal(results.reduce((sum, { amount_usd }) => sum + nanos(amount_usd), 0), nanos(wallet.posted_usd), "to the nano");
  assert.ok(results.every(({ input_tokens, output_tokens }) => input_tokens > 0 && output_tokens > 0));
  const seen = await leads("GET", "/usage?group_by[]=member&group_by[]=model");
  assert.equal(seen.status, 200, JSON.stringify(seen.body));
  assert.deepEqual(seen.body.data.flatMap((bucket) => bucket.results).map(({ requests }) => requests), [1], "only its group's");
  const table = await fetch(new URL("/admin/v1/usage?group_by=model", here.url), { headers: { authorization: `Bearer ${own.adminKey}`, accept: "text/csv" } });
  assert.match(table.headers.get("content-type"), /^text\/csv/);
  assert.match(await table.text(), /^start_time,model,requests,.*amount_usd\r\n20\d\d-.*"openai\/gpt-5-nano",1,\d+,/s);
  assert.deepEqual(code(await admin("GET", "/usage?bucket_width=1y")), [400, "invalid_parameter"]);
  const later = await admin("GET", "/usage?start_time=2026-01-01&end_time=2026-01-02");
  assert.deepEqual(later.body.data, []);
});

test("who is disabled has no key that opens anything, and the last owner stays", async () => {
  const members = await admin("GET", "/members");
  const owner = members.body.data.find(({ roles }) => roles.some(({ role }) => role === "owner"));
  assert.deepEqual(code(await admin("PATCH", `/members/${owner.id}`, { roles: [] })), [409, "last_owner"]);
  assert.deepEqual(code(await admin("PATCH", `/members/${owner.id}`, { roles: [{ role: "emperor" }] }))[0], 400);
  assert.equal((await admin("POST", `/members/${lead.id}/disable`)).status, 200);
  assert.deepEqual(code(await leads("GET", "/groups")), [403, "member_disabled"]);
});

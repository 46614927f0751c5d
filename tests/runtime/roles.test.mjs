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
    if (expected === 403) assert.match(answer.body.error.message, /group_admin, member.*budgets.*admin/);
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

test("who is disabled has no key that opens anything, and the last owner stays", async () => {
  const members = await admin("GET", "/members");
  const owner = members.body.data.find(({ roles }) => roles.some(({ role }) => role === "owner"));
  assert.deepEqual(code(await admin("PATCH", `/members/${owner.id}`, { roles: [] })), [409, "last_owner"]);
  assert.deepEqual(code(await admin("PATCH", `/members/${owner.id}`, { roles: [{ role: "emperor" }] }))[0], 400);
  assert.equal((await admin("POST", `/members/${lead.id}/disable`)).status, 200);
  assert.deepEqual(code(await leads("GET", "/groups")), [403, "member_disabled"]);
});

// Organisations that the operator suspends, resumes and closes.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { ledger, nanos } from "./books.mjs";
import { code, dear, start, until } from "./harness.mjs";

let here, own, other, model;
before(async () => {
  here = await start({ vars: { OUTBOX_FLUSH_MS: "50" } });
  [own, other] = [await here.newOrganization({ name: "Acme" }), await here.newOrganization({ name: "Other" })];
  model = await here.newProvider(own, "acme", { models: [dear] });
  await here.newProvider(other, "acme", { models: [dear] });
});
after(() => here.close());

const stand = (status, { id = own.id, token = here.operatorToken } = {}) => here.call("PATCH", `/platform/v1/organizations/${id}`, token, { status });
const asked = (key, members) => here.ask(key, { model, max_tokens: 20, ...members });
const SUSPENDED = [403, "org_suspended"];

test("only the operator does it, to an organisation that is there", async () => {
  for (const token of [own.adminKey, own.key, "no", ""]) assert.equal((await stand("suspended", { token })).status, 401);
  assert.equal((await stand("suspended", { id: "org_01kayz0000000000000000000a" })).status, 404);
  assert.equal((await stand("gone")).status, 400);
  assert.equal((await asked(own.key)).status, 200);
});

test("a suspended organisation makes no calls and changes nothing, others do", async () => {
  const { body: spare } = await here.call("POST", "/admin/v1/api_keys", own.adminKey, { name: "spare" });
  assert.equal((await stand("suspended")).body.status, "suspended");
  const told = await asked(own.key);
  assert.deepEqual(code(told), SUSPENDED);
  assert.match(told.body.error.message, /operator/);
  assert.equal(told.body.error.type, "permission_error");
  const message = await here.ask(own.key, { model, max_tokens: 20 }, { path: "/v1/messages" });
  assert.deepEqual([message.status, message.body.error.type], [403, "permission_error"]);
  for (const path of ["/v1/key", "/v1/models"]) assert.deepEqual(code(await here.call("GET", path, own.key)), SUSPENDED, path);
  for (const [method, path, body] of [
    ["POST", "groups", { name: "Labs" }], ["POST", "api_keys", { name: "more" }], ["PATCH", "organization", { name: "Else" }],
    ["PATCH", "wallet", { low_balance_alert_usd: "1" }], ["POST", "wallet/topups", { method: "card", amount_usd: "5" }],
  ]) {
    assert.deepEqual(code(await here.call(method, `/admin/v1/${path}`, own.adminKey, body)), SUSPENDED, path);
  }
  const { status, body: revoked } = await here.call("DELETE", `/admin/v1/api_keys/${spare.id}`, own.adminKey);
  assert.deepEqual([status, revoked.error], [200, undefined], "a key that leaked is taken away all the same");
  for (const path of ["organization", "wallet", "api_keys", "ledger/entries", "audit_logs", "usage"]) {
    assert.equal((await here.call("GET", `/admin/v1/${path}`, own.adminKey)).status, 200, path);
  }
  assert.equal((await here.call("GET", "/admin/v1/organization", own.adminKey)).body.status, "suspended");
  assert.equal((await asked(other.key)).status, 200, "others have nothing to do with it");
});

test("resumed it goes on, and the trail says so", async () => {
  assert.equal((await stand("active")).body.status, "active");
  assert.equal((await asked(own.key)).status, 200);
  const rows = await until("the steps are in the trail", async () => {
    const { body } = await here.call("GET", "/admin/v1/audit_logs?event_type=organization.updated", own.adminKey);
    return body.data.length === 2 && body.data;
  });
  assert.deepEqual([rows[1].before, rows[1].after, rows[1].actor.api_key_id], [{ status: "active" }, { status: "suspended" }, null]);
});

test("a call under way ends and is booked", async () => {
  const before = (await ledger(here.call, own.adminKey)).length;
  await here.sandbox.set("acme", { head_delay_ms: 1500 });
  const call = asked(own.key);
  await until("its money is held", async () => nanos((await here.call("GET", "/admin/v1/wallet", own.adminKey)).body.held_usd) > 0n);
  await stand("suspended");
  assert.equal((await call).status, 200);
  await here.sandbox.set("acme", { head_delay_ms: 0 });
  await until("it is booked", async () => (await ledger(here.call, own.adminKey)).length > before);
  assert.equal((await here.call("GET", "/admin/v1/wallet", own.adminKey)).body.held_usd, "0");
});

test("closed is final", async () => {
  assert.equal((await stand("closed")).body.status, "closed");
  for (const status of ["active", "suspended"]) assert.deepEqual(code(await stand(status)), [409, "organization_closed"]);
  assert.deepEqual(code(await asked(own.key)), SUSPENDED);
  const told = await here.call("GET", `/platform/v1/organizations/${own.id}`, here.operatorToken);
  assert.deepEqual([told.status, told.body.status], [200, "closed"]);
});

test("made twice under one Idempotency-Key it is one organisation, with one credit and one key", async () => {
  const make = (body, once) => here.call("POST", "/platform/v1/organizations", here.operatorToken, body, once && { "idempotency-key": once });
  const asked = { name: "Once", timezone: "Europe/Berlin", credit_usd: "5" };
  const [first, again, another] = [await make(asked, "a"), await make(asked, "a"), await make(asked, "b")];
  assert.deepEqual([first.status, again.status, another.status], [201, 201, 201], JSON.stringify(again.body));
  assert.deepEqual(again.body, first.body);
  assert.notEqual(another.body.organization.id, first.body.organization.id);
  const { body: wallet } = await here.call("GET", "/admin/v1/wallet", again.body.admin_key.secret);
  assert.equal(nanos(wallet.available_usd), 5_000_000_000n);
  assert.deepEqual(code(await make({ ...asked, name: "Other" }, "a")), [409, "idempotency_key_reused"]);
  assert.deepEqual(code(await make(asked, "x".repeat(256))), [400, "invalid_parameter"]);
});

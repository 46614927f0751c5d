// Decisions over HTTP: kept with their charge, a share of them drawn at random, and what that tells of routing.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { code, start, until } from "./harness.mjs";

let here, own;
before(async () => {
  here = await start();
  own = await here.newOrganization({ name: "Acme" });
});
after(() => here.close());

const admin = (method, path, body) => here.call(method, `/admin/v1${path}`, own.adminKey, body);
const policy = (scope, body) => admin("PUT", `${scope}/routing_policy`, body);
const ask = (content, more = {}) => here.ask(own.key, { model: "auto", messages: [{ role: "user", content }], max_tokens: 30, ...more });
const reasonOf = ({ headers }) => headers.get("x-megarouter-reason");

test("a share of auto requests is drawn from recent choices, says so, and is counted beside the rest", async () => {
  assert.equal((await policy("/organization", { control: 0.2, explore: 0 })).status, 200);
  const reasons = [];
  for (let number = 0; number < 60; number++) {
    const answer = await ask(`Say ${number}.`);
    assert.equal(answer.status, 200, JSON.stringify(answer.body));
    reasons.push(reasonOf(answer));
  }
  const control = reasons.filter((reason) => reason === "control").length;
  assert.ok(control >= 2 && control <= 28, `${control} of 60`);
  assert.deepEqual([...new Set(reasons)].sort(), ["control", "mode"]);
  assert.equal(reasons[0], "mode", "nothing was chosen before it");

  // Where nothing had been chosen yet, nothing could have been drawn: such requests count on neither side.
  const rows = await until("all are in the journal", async () => {
    const { body } = await admin("GET", "/requests?limit=100");
    return body.data.length === 60 ? body.data : null;
  });
  const arm = (word) => rows.filter((row) => row.comparison?.arm === word).length;
  assert.deepEqual([arm("control"), arm("routed") + arm("control") + arm("alone")], [control, 60]);
  assert.ok(arm("alone") >= 1 && arm("alone") <= 5, `${arm("alone")} alone`);
  const { body: lift } = await admin("GET", "/router_lift");
  assert.deepEqual([lift.object, lift.routed.requests, lift.control.requests, lift.distinguishable],
    ["router_lift", arm("routed"), control, false]);
  assert.match(lift.routed.mean_cost_usd, /^0\.0\d+$/);

  // What a decision rested on stands in the ledger, and the list of requests tells its reason.
  const listed = await until("they are in the journal", async () => {
    const { body } = await admin("GET", "/requests?reason=control");
    return body.data.length === Math.min(control, 20) ? body : null;
  });
  assert.ok(listed.data.every((row) => row.comparison.arm === "control" && row.decision === undefined && row.case === undefined));
  const entry = await admin("GET", `/ledger/entries/${listed.data[0].id}`);
  assert.ok(entry.body.call.decision.length > 200 && entry.body.sound, JSON.stringify(entry.body));
});

test("a verdict on a call counts once for its side", async () => {
  const before = (await admin("GET", "/router_lift")).body.routed;
  let answer;
  do answer = await ask("One more."); while (reasonOf(answer) !== "mode");
  const id = answer.headers.get("x-request-id");
  for (const score of [1, 0]) {
    await until("the verdict is taken", async () => {
      const { status } = await here.call("POST", "/v1/feedback", own.key, { request_id: id, score });
      return status === 202;
    });
  }
  const { body } = await admin("GET", "/router_lift");
  assert.equal(body.routed.judged, (before.judged ?? 0) + 1, JSON.stringify(body));
});

test("who does not want it has nothing drawn: by key, by urgency, by naming a model", async () => {
  const keys = await admin("GET", "/api_keys");
  const key = keys.body.data.find((row) => row.kind === "inference");
  for (let number = 0; number < 25; number++) {
    assert.equal(reasonOf(await ask("Quick.", { megarouter: { priority: "high" } })), "mode");
  }
  assert.equal((await policy(`/api_keys/${key.id}`, { control: 0 })).status, 200);
  for (let number = 0; number < 25; number++) assert.equal(reasonOf(await ask("Not me.")), "mode");
  assert.equal(reasonOf(await ask("Named.", { model: "openai/gpt-5-nano" })), "pinned");
  assert.deepEqual(code(await policy(`/api_keys/${key.id}`, { control: 0.5 })), [400, "invalid_parameter"]);
  assert.deepEqual(code(await policy(`/api_keys/${key.id}`, { explore: -1 })), [400, "invalid_parameter"]);
});

test("one of the others is asked now and then, once there is something to learn", async () => {
  const fresh = await here.newOrganization({ name: "Curious" });
  const set = await here.call("PUT", "/admin/v1/organization/routing_policy", fresh.adminKey, { explore: 0.2, control: 0 });
  assert.equal(set.status, 200);
  const outcomes = [{ model: "openai/gpt-5-nano", score: 1 }];
  const request = { model: "auto", messages: [{ role: "user", content: "Say hello." }] };
  assert.equal((await here.call("POST", "/v1/feedback", fresh.key, { request, outcomes })).status, 202);
  const seen = new Map();
  for (let number = 0; number < 60; number++) {
    const answer = await here.ask(fresh.key, { ...request, max_tokens: 30 });
    const reason = reasonOf(answer), model = answer.headers.get("x-megarouter-model");
    seen.set(reason, [...(seen.get(reason) ?? []), model]);
  }
  const explored = seen.get("explore") ?? [];
  assert.ok(explored.length >= 2 && explored.length <= 28, JSON.stringify([...seen]));
});

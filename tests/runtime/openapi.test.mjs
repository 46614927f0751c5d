// The document beside the worker: every answer of a walk through both planes, and every refusal, is as schema/openapi.json says.
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import Ajv2020 from "ajv/dist/2020.js";
import { payer } from "../x402/chain.mjs";
import { start, startReceiver, until } from "./harness.mjs";

const catalogText = readFileSync(new URL("../../schema/catalog.json", import.meta.url), "utf8");
const document = JSON.parse(readFileSync(new URL("../../schema/openapi.json", import.meta.url), "utf8"));
const METHODS = ["get", "put", "post", "patch", "delete"];
const operations = Object.entries(document.paths).flatMap(([template, item]) =>
  METHODS.filter((method) => item[method]).map((method) => ({ method, template, told: item[method], item })));

// ---- the document -----------------------------------------------------------------------------------------------

// Keywords of OpenAPI are none of JSON Schema; forms of texts are told by patterns.
const ajv = new Ajv2020({ strict: false, validateFormats: false, allErrors: true });
ajv.addSchema(document, "openapi");
const escaped = (step) => encodeURIComponent(step.replaceAll("~", "~0").replaceAll("/", "~1"));
const validators = new Map();

/** What is wrong with a value by the schema at a place of the document; empty for nothing. */
function breaches(steps, value) {
  const place = `openapi#/${steps.map(escaped).join("/")}`;
  if (!validators.has(place)) validators.set(place, ajv.compile({ $ref: place }));
  const validate = validators.get(place);
  if (validate(value)) return [];
  return validate.errors.map(({ instancePath, message, params }) => `${instancePath} ${message} ${JSON.stringify(params)}`);
}

/** Follows a `$ref` to [its steps, what stands there]. */
function resolved(steps) {
  const value = steps.reduce((inside, step) => inside[step], document);
  return value.$ref ? resolved(value.$ref.slice(2).split("/")) : [steps, value];
}

/** A request's operation: the one whose path has the fewest ids. */
function operationOf(method, path) {
  const pattern = (template) => template.replaceAll(".", "\\.").replace("{model}", ".+").replace(/\{\w+\}/g, "[^/]+");
  const matches = (template) => new RegExp(`^${pattern(template)}$`).test(path);
  const found = operations.filter((one) => one.method === method && matches(one.template));
  return found.sort((a, b) => a.template.split("{").length - b.template.split("{").length)[0];
}

const walked = new Set(); // operations that answered 2xx

/** Holds an answer against the document, and gives it back. */
function held(method, target, answer) {
  const path = target.split("?")[0];
  const one = operationOf(method.toLowerCase(), path);
  const name = `${method} ${target} ${answer.status}: ${JSON.stringify(answer.body).slice(0, 2000)}`;
  assert.ok(one, `${name} is not documented`);
  const { responses } = one.told;
  const status = responses[answer.status] ? String(answer.status) : "default";
  assert.ok(responses[status], `${name}: no such status is documented`);
  const [steps, response] = resolved(["paths", one.template, one.method, "responses", status]);
  for (const header of Object.keys(response.headers ?? {})) {
    const [place, { required }] = resolved([...steps, "headers", header]);
    const value = answer.headers.get(header);
    assert.ok(value !== null || !required, `${name}: no ${header}`);
    if (value !== null) assert.deepEqual(breaches([...place, "schema"], value), [], `${name}: ${header} ${value}`);
  }
  const type = answer.headers.get("content-type").split(";")[0];
  assert.ok(response.content[type], `${name}: ${type}`);
  assert.deepEqual(breaches([...steps, "content", type, "schema"], answer.body), [], name);
  if (answer.status < 300) walked.add(`${one.method} ${one.template}`);
  return answer;
}

// ---- the walk ---------------------------------------------------------------------------------------------------

let here, own, receiver;
const STRIPE = "whsec_of_stripe";
before(async () => {
  receiver = await startReceiver({ "/v1/checkout/sessions": [200, {}, JSON.stringify({ id: "cs_1", url: "https://pay.test/cs_1" })] });
  const stripe = { STRIPE_SECRET_KEY: "sk_test_none", STRIPE_API_BASE: receiver.url, STRIPE_WEBHOOK_SECRET: STRIPE };
  here = await start({ vars: { OUTBOX_FLUSH_MS: "50", X402_REFUND_KEY: `0x${"07".repeat(32)}`, ...stripe } });
  own = await here.newOrganization();
});
after(() => {
  receiver.close();
  return here.close();
});

const call = async (method, path, token, body, more) => held(method, path, await here.call(method, path, token, body, more));

/** Calls and demands a status; answers the body. */
async function told(expected, method, path, token, body, more) {
  const answer = await call(method, path, token, body, more);
  assert.equal(answer.status, expected, `${method} ${path}: ${JSON.stringify(answer.body)}`);
  return answer.body;
}
const admin = (expected, method, path, body, more) => told(expected, method, `/admin/v1${path}`, own.adminKey, body, more);
const operator = (expected, method, path, body) => told(expected, method, `/platform/v1${path}`, here.operatorToken, body);

/** The example of a body. */
function example(name) {
  const { example, examples } = document.components.requestBodies[name].content["application/json"];
  return example ?? Object.values(examples)[0].value;
}

/** Whether the router serves an operation: some may be documented before (tests/openapi.rs lists them). */
async function isServed({ method, template }) {
  const path = template.replace(/\{window\}/, "day").replace(/\{\w+\}/g, "x");
  const { status, body } = await here.call(method.toUpperCase(), path, "none", method === "get" ? undefined : "{");
  return status !== 405 && body.error?.code !== "unknown_endpoint";
}

test("examples are what the schemas of their bodies let pass", () => {
  for (const [name, body] of Object.entries(document.components.requestBodies)) {
    const { example, examples } = body.content["application/json"];
    for (const value of [...(example ? [example] : []), ...Object.values(examples ?? {}).map((one) => one.value)]) {
      assert.deepEqual(breaches(["components", "requestBodies", name, "content", "application/json", "schema"], value), [], name);
    }
  }
});

test("the operator's plane", async () => {
  const { organization, admin_key: key } = await operator(201, "POST", "/organizations", example("NewOrganization"));
  const at = `/organizations/${organization.id}`;
  await operator(200, "POST", `${at}/credits`, example("Credit"));
  await operator(200, "POST", `${at}/adjustments`, example("Adjustment"));
  await operator(404, "POST", `${at}/refunds`, example("Refund"));
  await operator(404, "POST", "/organizations/org_none/credits", example("Credit"));
  await operator(200, "PATCH", at, example("Standing"));
  assert.equal((await operator(200, "GET", at)).status, "suspended");
  await operator(400, "PATCH", at, { status: "gone" });
  await told(403, "POST", "/admin/v1/groups", key.secret, example("Group"));
  await operator(200, "PATCH", at, { status: "closed" });
  await operator(409, "PATCH", at, { status: "active" });
  await operator(404, "PATCH", "/organizations/org_none", example("Standing"));
  await operator(404, "GET", "/organizations/org_none");
  await operator(200, "POST", `/reconcile?organization=${organization.id}&from=1`);
  await operator(200, "POST", "/reconcile?organization=org_none");
  await operator(200, "POST", "/reconcile");
  await operator(400, "POST", "/reconcile?from=soon");
  await operator(200, "GET", "/catalog");
  await operator(200, "POST", "/catalog/validate", catalogText);
  await operator(200, "PUT", "/catalog?force=true", catalogText);
  await operator(400, "PUT", "/catalog", example("Credit"));
  await told(401, "GET", "/platform/v1/catalog", "wrong");
  assert.match(key.secret, /^mr_ak_/);
});

test("the tree of an organisation", async () => {
  const outer = await admin(201, "POST", "/groups", example("Group"));
  const inner = await admin(201, "POST", "/groups", { name: "Team", parent_id: outer.id });
  await admin(200, "GET", "/groups");
  await admin(200, "GET", `/groups/${inner.id}`);
  await admin(200, "PATCH", `/groups/${inner.id}`, example("GroupPatch"));
  await admin(400, "PATCH", `/groups/${inner.id}`, { parent_id: outer.id });
  await admin(200, "POST", `/groups/${inner.id}/move`, example("Move"));
  await admin(200, "POST", `/groups/${inner.id}/move`, { parent_id: outer.id });
  await admin(409, "POST", `/groups/${outer.id}/move`, { parent_id: inner.id });
  await admin(409, "POST", `/groups/${outer.id}/archive`);
  const person = await admin(201, "POST", "/members", { ...example("Member"), group_id: inner.id });
  await admin(200, "GET", "/members");
  await admin(200, "GET", `/members/${person.id}`);
  await admin(200, "PATCH", `/members/${person.id}`, example("MemberPatch"));
  const lead = { role: "group_admin", scope: inner.id };
  const { roles } = await admin(200, "PATCH", `/members/${person.id}`, { roles: [lead, { role: "auditor" }] });
  assert.deepEqual(roles, [lead, { role: "auditor", scope: "organization" }]);
  const key = await admin(201, "POST", "/api_keys", { ...example("ApiKey"), kind: "admin", owner_member_id: person.id });
  await told(403, "POST", "/admin/v1/groups", key.secret, example("Group"));
  for (const scope of ["/organization", `/groups/${inner.id}`, `/members/${person.id}`, `/api_keys/${key.id}`]) await limits(scope);
  await admin(200, "GET", "/api_keys");
  await admin(200, "GET", `/api_keys/${key.id}`);
  await admin(200, "DELETE", `/api_keys/${key.id}`);
  await told(401, "GET", "/admin/v1/wallet", key.secret);
  await admin(200, "POST", `/members/${person.id}/archive`);
  await admin(200, "POST", `/members/${person.id}/disable`);
  await admin(403, "POST", "/api_keys", { ...example("ApiKey"), owner_member_id: person.id });
  const { data: [owner] } = await admin(200, "GET", "/members");
  await admin(409, "POST", `/members/${owner.id}/disable`);
  await admin(200, "POST", `/groups/${inner.id}/archive`);
  await admin(409, "POST", "/groups", { name: "x", parent_id: inner.id });
  for (const row of ["groups", "members", "api_keys"]) await admin(404, "GET", `/${row}/none`);
});

/** Budgets, limits and the policy of a scope. */
async function limits(scope) {
  for (const window of document.components.schemas.Window.enum) {
    await admin(200, "PUT", `${scope}/budgets/${window}`, example("Limit"));
    await admin(200, "GET", `${scope}/budgets/${window}`);
  }
  await admin(200, "PUT", `${scope}/budgets/day/override`, example("Override"));
  await admin(200, "GET", `${scope}/budgets`);
  await admin(200, "DELETE", `${scope}/budgets/day/override`);
  await admin(200, "DELETE", `${scope}/budgets/session`);
  await admin(404, "GET", `${scope}/budgets/session`);
  await admin(404, "DELETE", `${scope}/budgets/session/override`);
  await admin(404, "GET", `${scope}/budgets/year`);
  await admin(200, "PUT", `${scope}/rate_limits`, example("RateLimits"));
  await admin(200, "GET", `${scope}/rate_limits`);
  await admin(200, "PUT", `${scope}/rate_limits`, {});
  await admin(404, "GET", `${scope}/routing_policy`);
  await admin(200, "PUT", `${scope}/routing_policy`, example("RoutingPolicy"));
  await admin(200, "GET", `${scope}/routing_policy`);
  await admin(400, "PUT", `${scope}/routing_policy`, { mode: null, data_policy: {} });
  await admin(200, "DELETE", `${scope}/routing_policy`);
}

test("own providers and named routes", async () => {
  const provider = { ...example("Provider"), base_url: `${here.sandboxUrl}/acme` };
  await admin(200, "PUT", "/providers/acme", provider);
  await admin(200, "GET", "/providers/acme");
  await admin(200, "GET", "/providers");
  await admin(400, "PUT", "/providers/openai", provider);
  const targets = [{ provider: "acme", model: "m1", weight: 1 }];
  await admin(200, "PUT", "/routes/fast", { ...example("Route"), targets, mode: "balanced", rescue: "buffer", min_tokens_per_s: 5 });
  await admin(200, "PUT", "/routes/fast", example("Route"));
  await admin(200, "GET", "/routes/fast");
  await admin(200, "GET", "/routes");
  await admin(400, "PUT", "/routes/auto", example("Route"));
  await admin(200, "DELETE", "/routes/fast");
  await admin(404, "DELETE", "/routes/fast");
  await admin(200, "DELETE", "/providers/acme");
  await admin(404, "GET", "/providers/acme");
});

test("models, and what calls leave behind", async () => {
  const ask = (expected, path, body, token = own.key) => told(expected, "POST", path, token, body);
  await ask(200, "/v1/chat/completions", example("Chat"));
  await ask(200, "/v1/responses", example("Responses"));
  await ask(200, "/v1/messages", example("Messages"));
  await ask(200, "/v1/messages/count_tokens", example("CountTokens"));
  await ask(200, "/v1/embeddings", example("Embeddings"));
  await ask(200, "/v1/completions", example("Completions"));
  await ask(400, "/v1/chat/completions", { ...example("Chat"), megarouter: { max_cost: 1 } });
  await ask(401, "/v1/chat/completions", example("Chat"), "mr_sk_none");
  const { data: [first] } = await told(200, "GET", "/v1/models", own.key);
  await told(200, "GET", `/v1/models/${first.id}`, own.key);
  await told(200, "GET", "/v1/models", undefined, undefined, { "anthropic-version": "2023-06-01" });
  await told(404, "GET", "/v1/models/none", own.key);
  await told(200, "GET", "/healthz");
  await told(200, "GET", "/v1/payment-options");
  for (const [method, path] of [["GET", "/v1/balance"], ["POST", "/v1/refund"]]) {
    const body = await told(401, method, path);
    const { info } = body.error.metadata.sign_in;
    const proof = (signature) => {
      const signed = { ...info, address: payer.address, chainId: "eip155:84532", type: "eip191", signature };
      return { "sign-in-with-x": Buffer.from(JSON.stringify(signed)).toString("base64") };
    };
    const message = `${info.domain} wants you to sign in with your Ethereum account:\n${payer.address}\n\n\nURI: ${info.uri}\n` +
      `Version: 1\nChain ID: 84532\nNonce: ${info.nonce}\nIssued At: ${info.issuedAt}`;
    await told(method === "GET" ? 200 : 202, method, path, undefined, undefined, proof(await payer.signMessage({ message })));
    await told(401, method, path, undefined, undefined, proof(`0x${"22".repeat(64)}1b`));
    await told(400, method, path, undefined, undefined, { "sign-in-with-x": "?" });
  }
  await told(200, "GET", "/.well-known/megarouter-keys.json");
  await admin(200, "PUT", "/organization/budgets/session", example("Limit"));
  await told(200, "GET", "/v1/key", own.key, undefined, { "x-megarouter-session": "s" });
  await told(401, "GET", "/v1/key", own.adminKey);
  const [entry] = await until("the calls are booked", async () => {
    const { data } = await admin(200, "GET", "/ledger/entries?limit=100");
    const charges = data.filter(({ kind }) => kind === "usage");
    return charges.length >= 5 && charges;
  });
  await admin(400, "GET", "/ledger/entries?limit=0");
  await admin(200, "GET", `/ledger/entries/${entry.id}`);
  await admin(200, "GET", `/ledger/entries/${entry.id}/recompute`);
  await admin(404, "GET", "/ledger/entries/req_none/recompute");
  assert.ok((await admin(200, "GET", "/requests?limit=100")).data.length >= 5);
  for (const path of ["/usage", "/costs"]) {
    await admin(200, "GET", path);
    const { data: [bucket] } = await admin(200, "GET", `${path}?bucket_width=1d&group_by=group,member,api_key,model,provider`);
    assert.ok(bucket.results.length > 0);
    await admin(200, "GET", path, undefined, { accept: "text/csv" });
    await admin(400, "GET", `${path}?bucket_width=1y`);
  }
  await admin(200, "GET", "/router_lift");
  await admin(200, "GET", "/wallet");
  await told(200, "GET", `/v1/receipts/${entry.id}`, own.key);
  await told(200, "GET", `/v1/receipts/${entry.id}`, own.adminKey);
  await told(404, "GET", "/v1/receipts/req_none", own.key);
  await ask(202, "/v1/feedback", { request_id: entry.id, score: 0.9 });
  await ask(202, "/v1/feedback", document.components.requestBodies.Feedback.content["application/json"].examples.elsewhere.value);
  await ask(400, "/v1/feedback", {});
  await operator(200, "POST", `/organizations/${own.id}/refunds`, { entry_id: entry.id, reason: "no answer" });
});

test("keys change, and are given new secrets", async () => {
  const { id } = await admin(201, "POST", "/api_keys", example("ApiKey"));
  await admin(200, "PATCH", `/api_keys/${id}`, example("ApiKeyPatch"));
  await admin(200, "POST", `/api_keys/${id}/rotate`, example("Rotate"));
});

test("the organisation, invites and service accounts", async () => {
  await admin(200, "GET", "/organization");
  await admin(200, "PATCH", "/organization", example("OrganizationPatch"));
  await admin(201, "POST", "/service_accounts", example("ServiceAccount"));
  await admin(400, "POST", "/service_accounts", { ...example("ServiceAccount"), kind: "user" });
  await admin(200, "GET", "/service_accounts");
  const invite = await admin(201, "POST", "/invites", example("Invite"));
  await admin(200, "GET", "/invites");
  await admin(200, "GET", `/invites/${invite.id}`);
  await told(401, "POST", "/admin/v1/invites/accept", own.adminKey, example("Accept"));
  const accepted = await told(201, "POST", "/admin/v1/invites/accept", invite.secret, example("Accept"));
  assert.deepEqual([accepted.id, accepted.member.name], [invite.id, example("Accept").name]);
  await told(200, "GET", "/admin/v1/wallet", accepted.admin_key.secret);
  await told(401, "POST", "/admin/v1/invites/accept", invite.secret);
  assert.equal((await admin(200, "GET", `/invites/${invite.id}`)).status, "accepted");
  const other = await admin(201, "POST", "/invites", {});
  await admin(200, "DELETE", `/invites/${other.id}`);
  await admin(404, "GET", "/invites/none");
});

test("what new members are given", async () => {
  const { id } = await admin(201, "POST", "/groups", { name: "Defaults" });
  for (const scope of ["/organization", `/groups/${id}`]) {
    await admin(200, "PUT", `${scope}/member_defaults`, example("MemberDefaults"));
    await admin(200, "GET", `${scope}/member_defaults`);
    const person = await admin(201, "POST", "/members", { name: "Given", group_id: id });
    const { budgets, rate_limits } = example("MemberDefaults");
    assert.equal((await admin(200, "GET", `/members/${person.id}/budgets/month`)).limit_usd, budgets.month.limit_usd);
    assert.equal((await admin(200, "GET", `/members/${person.id}/rate_limits`)).rpm, rate_limits.rpm);
    await admin(200, "DELETE", `${scope}/member_defaults`);
    await admin(404, "GET", `${scope}/member_defaults`);
  }
  for (const scope of [`/members/${id}`, `/api_keys/${own.keyId}`]) {
    const { status } = await here.call("PUT", `/admin/v1${scope}/member_defaults`, own.adminKey, example("MemberDefaults"));
    assert.equal(status, 404, "only of the organisation and of groups");
  }
});

test("webhooks: made, told of, given new secrets, removed; and what is sent to them", async () => {
  const all = { ...example("WebhookEndpoint"), url: `${receiver.url}/hook?token=t`, events: ["*"] };
  const made = await admin(201, "POST", "/webhook_endpoints", all);
  const at = `/webhook_endpoints/${made.id}`;
  const { secret, ...shown } = made;
  assert.deepEqual(await admin(200, "GET", at), shown);
  assert.deepEqual((await admin(200, "GET", "/webhook_endpoints")).data, [shown]);
  const usual = await admin(201, "POST", "/webhook_endpoints", { url: `${receiver.url}/usual`, status: "disabled" });
  assert.deepEqual(usual.events, document.components.schemas.EventTypes.default);
  await admin(404, "POST", "/webhook_endpoints", { url: here.sandboxUrl, group_id: "grp_none" });
  const { id } = await admin(202, "POST", `${at}/test`);
  const rotated = await admin(200, "POST", `${at}/rotate_secret`);
  assert.ok(rotated.secret_version === made.secret_version + 1 && rotated.secret !== secret);
  const delivered = await until("it was delivered", async () => {
    const { data } = await admin(200, "GET", "/alerts");
    return data.find((alert) => alert.id === id && alert.deliveries[0].status === "delivered");
  });
  assert.deepEqual(delivered.deliveries.map(({ endpoint_id, attempts }) => [endpoint_id, attempts]), [[made.id, 1]]);
  await admin(202, "POST", `/alerts/${id}/resend`);
  await admin(404, "POST", "/alerts/evt_none/resend");
  assert.deepEqual((await admin(200, "GET", "/alerts?status=failed")).data, []);
  await admin(400, "GET", "/alerts?status=pending");
  const sent = receiver.received.find(({ body }) => body.type === "test");
  const [event] = Object.values(document.webhooks);
  assert.deepEqual(breaches(["components", "schemas", "Event"], sent.body), []);
  event.post.parameters.forEach(({ name }, place) => {
    assert.deepEqual(breaches(["webhooks", "event", "post", "parameters", String(place), "schema"], sent.headers[name]), [], name);
  });
  // What admins do is sent to whom asked for it.
  await admin(201, "POST", "/groups", { name: "Heard of" });
  const types = (await admin(200, "GET", "/alerts")).data.map(({ type }) => type);
  assert.ok(types.includes("group.created") && types.includes("wallet.topped_up"), String(types));
  await admin(200, "PATCH", at, example("WebhookEndpointPatch"));
  await admin(400, "PATCH", at, { group_id: "grp_x" });
  await admin(200, "DELETE", at);
  await admin(404, "GET", at);
  await admin(404, "POST", `${at}/test`);
});

test("the wallet's mark", async () => {
  assert.equal((await admin(200, "GET", "/wallet")).low_balance_alert_usd, null);
  const high = await admin(200, "PATCH", "/wallet", { low_balance_alert_usd: "1000000" });
  assert.equal(high.low_balance_alert_usd, "1000000");
  const { data } = await admin(200, "GET", "/alerts");
  assert.equal(data.find(({ type }) => type === "wallet.low_balance").data.threshold_usd, "1000000");
  await admin(200, "PATCH", "/wallet", example("WalletPatch"));
  assert.equal((await admin(200, "PATCH", "/wallet", { low_balance_alert_usd: null })).low_balance_alert_usd, null);
});

test("the trail is a chain, and its end is signed", async () => {
  const rows = await until("the trail is written", async () => {
    const { data } = await admin(200, "GET", "/audit_logs?limit=100");
    return data.some(({ type }) => type === "wallet.updated") && data;
  });
  for (const [place, row] of rows.slice(0, -1).entries()) {
    assert.deepEqual([row.seq, row.prev_hash], [rows[place + 1].seq + 1, rows[place + 1].hash]);
  }
  await admin(200, "GET", `/audit_logs?limit=100&after=${rows.at(-1).id}`);
  const { actor, resource } = rows[0];
  for (const query of [
    "event_type=group.created", `actor_id=${actor.member_id}`, `resource_id=${resource.id}`, "from=2026-01-01", "to=",
  ]) {
    await admin(200, "GET", `/audit_logs?${query}`);
  }
  for (const query of ["from=soon", "limit=101", "nme=1", "after=none"]) await admin(400, "GET", `/audit_logs?${query}`);
  const { data: [end] } = await admin(200, "GET", "/audit_logs/checkpoints");
  assert.ok(end.payload.seq >= rows[0].seq && end.id === end.payload.hash);
});

test("credit under the same key is given once", async () => {
  const at = `/platform/v1/organizations/${own.id}/credits`;
  const give = () => told(200, "POST", at, here.operatorToken, example("Credit"), { "idempotency-key": "once" });
  const [first, second] = [await give(), await give()];
  assert.deepEqual(second, first);
});

test("a top-up, and what the processor tells of it", async () => {
  const topup = await admin(201, "POST", "/wallet/topups", { ...example("Topup"), amount_usd: "50.25" });
  assert.deepEqual([topup.amount_usd, topup.url], ["50.25", "https://pay.test/cs_1"]);
  const metadata = { organization: own.id };
  const paid = { object: "checkout.session", id: "cs_1", payment_status: "paid", amount_total: 5025, currency: "usd", metadata };
  receiver.answers["/v1/checkout/sessions/cs_1"] = [200, {}, JSON.stringify(paid)];
  const event = JSON.stringify({ type: "checkout.session.completed", data: { object: { id: "cs_1" } } });
  const at = Math.floor(Date.now() / 1000);
  const signed = (text) => `t=${at},v1=${createHmac("sha256", STRIPE).update(`${at}.${text}`).digest("hex")}`;
  const send = (expected, text, signature = signed(text)) =>
    told(expected, "POST", "/platform/v1/stripe/webhook", undefined, text, { "stripe-signature": signature });
  const before = (await admin(200, "GET", "/wallet")).credits_usd;
  assert.equal((await send(200, event)).booked, 1);
  await send(200, event);
  assert.equal(Number((await admin(200, "GET", "/wallet")).credits_usd), Number(before) + 50.25);
  await send(200, "{}");
  await send(400, "{");
  await send(401, event, signed("{}"));
});

test("credentials are sealed anew, and figures told", async () => {
  await admin(200, "PUT", "/providers/sealed", { ...example("Provider"), credential: ["one", "two"] });
  assert.equal((await admin(200, "GET", "/providers/sealed")).credentials, 2);
  await operator(200, "POST", `/organizations/${own.id}/reseal`);
  await admin(200, "DELETE", "/providers/sealed");
  assert.match(await operator(200, "GET", "/metrics"), /^# HELP gen_ai_client_operations_total/);
});

test("a method a path has not is refused with those it has", async () => {
  for (const [path, item] of Object.entries(document.paths).filter(([path]) => path.startsWith("/admin/"))) {
    const target = path.replace("{window}", "day").replaceAll(/\{\w+\}/g, "x");
    const documented = METHODS.filter((method) => item[method]);
    const [other] = METHODS.filter((method) => !documented.includes(method) && method !== "get");
    const { status, headers, body } = await here.call(other.toUpperCase(), target, own.adminKey, other === "get" ? undefined : "{}");
    const allowed = headers.get("allow")?.split(", ").map((verb) => verb.toLowerCase());
    assert.deepEqual([status, body.error.code, allowed?.sort()], [405, "method_not_allowed", documented.sort()], `${other} ${target}`);
  }
});

test("an Idempotency-Key has a bound", async () => {
  await told(201, "POST", "/admin/v1/groups", own.adminKey, { name: "Long" }, { "idempotency-key": text(255) });
  await told(400, "POST", "/admin/v1/groups", own.adminKey, { name: "Long" }, { "idempotency-key": text(256) });
});

test("what changed since is not overwritten", async () => {
  const { id } = await admin(201, "POST", "/groups", { name: "Tagged" });
  const etag = (await call("GET", `/admin/v1/groups/${id}`, own.adminKey)).headers.get("etag");
  await admin(200, "PATCH", `/groups/${id}`, { name: "Other" }, { "if-match": etag });
  await admin(412, "PATCH", `/groups/${id}`, { name: "Third" }, { "if-match": etag });
  await admin(200, "PATCH", `/groups/${id}`, { name: "Third" }, { "if-match": "*" });
});

test("what is sent twice is told as it was, and nothing beside", async () => {
  for (const [path, body] of [["/groups", { name: "Twice" }], ["/members", { name: "Twice" }], ["/wallet/topups", example("Topup")]]) {
    const send = () => call("POST", `/admin/v1${path}`, own.adminKey, body, { "idempotency-key": `twice ${path}` });
    const [first, second] = [await send(), await send()];
    assert.deepEqual(second.body, first.body);
  }
});

test("no credentials at all are no list of credentials", () =>
  admin(400, "PUT", "/providers/empty", { ...example("Provider"), credential: [] }));

test("an organisation that is not there has nothing to seal", () =>
  operator(404, "POST", "/organizations/org_none/reseal"));

test("what is sent twice is done once", async () => {
  for (const path of ["/api_keys", "/invites", "/webhook_endpoints"]) {
    const body = (name) => (path === "/webhook_endpoints" ? { url: "https://a.test", description: name } : { name });
    const send = (name) => call("POST", `/admin/v1${path}`, own.adminKey, body(name), { "idempotency-key": `once ${path}` });
    const [first, second, third] = [await send("Once"), await send("Once"), await send("Twice")];
    assert.deepEqual([first.status, second.status, second.body], [201, 201, first.body]);
    assert.deepEqual([third.status, third.body.error?.code], [409, "idempotency_key_reused"]);
  }
});

// ---- bodies -----------------------------------------------------------------------------------------------------

const text = (length) => "x".repeat(length);

/** What is at a bound and passes, and what is beyond and does not: by the schema, and by the worker. */
const BOUNDS = [
  ["ApiKey", "POST", "/api_keys", [
    ["name", text(200), text(201)], ["name", "x", " "], ["rpm", 1_000_000_000, 1_000_000_001], ["tpm", 1, 0], ["concurrency", null, -1],
    ["expires_in_seconds", 31_536_000, 31_536_001], ["expires_in_seconds", 1, 0], ["model_allowlist", [text(200)], [text(201)]],
    ["provider_allowlist", Array(1000).fill("x"), Array(1001).fill("x")], ["kind", null, "robot"],
  ]],
  ["ApiKeyPatch", "PATCH", "/api_keys/{key}", [
    ["name", text(200), null], ["rpm", null, 0], ["tpm", 1_000_000_000, 1_000_000_001], ["status", "active", "revoked"],
    ["status", "disabled", null],
    ["expires_in_seconds", null, 31_536_001], ["model_allowlist", null, [""]], ["provider_allowlist", [], "openai"],
  ]],
  ["Rotate", "POST", "/api_keys/{key}/rotate", [["grace_seconds", 86_400, 86_401], ["grace_seconds", 0, null], ["grace_seconds", 1, -1]]],
  ["OrganizationPatch", "PATCH", "/organization", [["name", text(200), text(201)], ["name", null, " "], ["payment_challenge", true, "yes"]]],
  ["Invite", "POST", "/invites", [
    ["expires_in_seconds", 2_592_000, 2_592_001], ["expires_in_seconds", null, 0], ["name", null, ""], ["email", text(200), text(201)],
    ["roles", [], [{ role: "member" }]], ["roles", null, Array(33).fill({ role: "auditor" })],
  ]],
  ["ServiceAccount", "POST", "/service_accounts", [
    ["name", "ä".repeat(200), text(201)], ["kind", "service_account", "user"], ["kind", null, "robot"],
  ]],
  ["WalletPatch", "PATCH", "/wallet", [["low_balance_alert_usd", "0", "-1"], ["low_balance_alert_usd", null, "x"],
    ["auto_topup", null, { threshold_usd: "1", amount_usd: 0.5, daily_limit_usd: "5" }],
    ["auto_topup", { threshold_usd: 1, amount_usd: "5.00", daily_limit_usd: 5 }, { threshold_usd: "1", amount_usd: "5" }],
    ["auto_topup", { threshold_usd: "0.000000001", amount_usd: 1, daily_limit_usd: "1" }, { threshold_usd: 0, amount_usd: 1, daily_limit_usd: 1 }],
  ]],
  ["Topup", "POST", "/wallet/topups", [
    ["amount_usd", "100000", 100_000.01], ["amount_usd", 1, 0.99], ["amount_usd", "1.01", "1.001"],
    ["amount_usd", "1.500000000", "1000000.00"],
    ["return_url", "https://a.test", "http://a.test"], ["return_url", `https://a.test/${text(485)}`, `https://a.test/${text(486)}`],
    ["method", "card", "x402"], ["save_card", true, "yes"],
  ]],
  ["WebhookEndpoint", "POST", "/webhook_endpoints", [
    ["url", `https://a.test/${text(485)}`, `https://a.test/${text(486)}`], ["url", "https://a.test/?token=%20#x", null],
    ["url", "https://a.test", "ftp://a.test"], ["url", "https://a.test/b", "https://u@a.test/"],
    ["url", "https://a.test/?", "https://a.test/?ä"],
    ["events", null, []], ["events", Array(50).fill("*"), Array(51).fill("*")], ["events", [text(100)], [text(101)]],
    ["events", ["x"], [""]],
    ["description", text(200), text(201)], ["description", null, 1], ["status", "disabled", "gone"], ["group_id", null, 1],
  ]],
  ["WebhookEndpointPatch", "PATCH", "/webhook_endpoints/{hook}", [
    ["url", null, "https://a.test\\b"], ["events", ["budget.*"], "budget.*"], ["status", "active", "gone"], ["status", null, true],
    ["group_id", null, "grp_x"], ["description", "", text(201)],
  ]],
  ["MemberDefaults", "PUT", "/groups/{group}/member_defaults", [
    ["budgets", { day: { limit_usd: 0, mode: "soft" }, lifetime: { limit_usd: "1" } }, { year: { limit_usd: "1" } }],
    ["budgets", {}, { day: { limit_usd: "-1" } }], ["budgets", { day: { limit_usd: "1", thresholds: [] } }, { day: {} }],
    ["rate_limits", {}, { rpm: 0 }], ["rate_limits", { tpm: null }, { nme: 1 }],
  ]],
  ["Group", "POST", "/groups", [["name", text(1), null], ["cost_center", text(200), text(201)], ["cost_center", null, ""]]],
  ["Member", "POST", "/members", [
    ["email", text(200), ""], ["kind", "service_account", "robot"], ["roles", [], Array(33).fill({ role: "auditor" })],
    ["roles", [{ role: "billing", scope: "organization" }], [{ role: "billing", scope: "grp_x" }]], ["roles", null, [{ role: "member" }]],
    ["roles", [{ role: "admin" }], [{ role: "group_admin" }]], ["roles", [{ role: "auditor" }], [{ role: "auditor", nme: 1 }]],
  ]],
  ["Limit", "PUT", "/organization/budgets/month", [
    ["limit_usd", "9007199.254740991", "10000000"], ["limit_usd", 9007199.25, 9007199.26], ["limit_usd", 0, -1],
    ["limit_usd", 0.5, "0.0000000001"], ["mode", "soft", null],
    ["thresholds", Array(10).fill(1), Array(11).fill(1)], ["thresholds", [100], [101]], ["thresholds", [1], [0]],
  ]],
  ["Override", "PUT", "/organization/budgets/month/override", [["extra_usd", "0.000000001", "0.0"], ["extra_usd", 1, 0]]],
  ["RateLimits", "PUT", "/groups/{group}/rate_limits", [["rpm", 1, 0], ["tpm", 1_000_000_000, 1_000_000_001], ["concurrency", null, "8"]]],
  ["RoutingPolicy", "PUT", "/groups/{group}/routing_policy", [
    ["mode", "balanced", "fast"], ["weights", { quality: 1000, cost: 0, latency: 0 }, { quality: 1001, cost: 0, latency: 0 }],
    ["weights", null, { quality: 1 }], ["allow", [], ["a*"]], ["deny", ["*", "a/*"], ["*/b"]],
    ["deny", Array(100).fill("x"), Array(101).fill("x")],
    ["data_policy", { training: "deny", retention: "zero", regions: ["eu"] }, { regions: [""] }], ["data_policy", {}, { training: null }],
    ["max_price", { input: "1000" }, { input: "1000.1" }], ["max_price", { output: null }, { nme: 1 }],
    ["data_policy", { regions: null }, { nme: 1 }],
    ["max_cost_usd", "0.000000001", "0"], ["min_quality", 1, 1.1], ["explore", 0.2, 0.21], ["control", null, -0.1],
  ]],
  ["Provider", "PUT", "/providers/bounds", [
    ["base_url", "https://a.test/v1", "https://a.test/?q"], ["base_url", `https://a.test/${text(485)}`, `https://a.test/${text(486)}`],
    ["credential", Array(9).fill("k"), Array(10).fill("k")], ["credential", text(8192), text(8193)], ["credential", "a b", "a\nb"],
    ["credential", ["k"], [""]], ["credential", null, ""],
    ["abort_stops_billing", null, "maybe"], ["dialect", "anthropic", "smtp"], ["credential", null, 1], ["models", [model({})], []],
    ["models", [model({ id: text(128) })], [model({ id: text(129) })]],
    ["models", [model({ input_usd_per_mtok: 1000 })], [model({ input_usd_per_mtok: "1000.000001" })]],
    ["models", [model({ context_length: 1 })], [model({ context_length: 0 })]],
    ["models", [model({ supports: [] })], [model({ supports: ["flight"] })]],
    ["models", [model({ max_output_tokens: null })], [model({ max_output_tokens: 0 })]],
    ["models", [model({ id: "a/b" })], [model({ nme: 1 })]],
  ]],
  ["Route", "PUT", "/routes/bounds", [
    ["targets", Array(32).fill({ provider: "acme", model: "m" }), Array(33).fill({ provider: "acme", model: "m" })],
    ["targets", [{ provider: "acme", model: "m", weight: 0 }], []],
    ["retries", 2, 3], ["min_tokens_per_s", 1000, 1001], ["fallback", true, null], ["hedge", true, "yes"], ["rescue", null, "never"],
    ["deadlines", { head_ms: 1_140_000, stall_ms: null }, { head_ms: 1_140_001 }], ["deadlines", {}, { total_ms: 0 }],
    ["deadlines", { total_ms: 1 }, { total: 1 }],
    ["targets", [{ provider: "acme", model: "m", weight: null }], [{ provider: "acme", model: "m", nme: 1 }]],
    ["escalation", { checks: ["finish"] }, { checks: ["finish"], nme: 1 }],
    ["escalation", null, { checks: [] }], ["mode", null, "fast"],
  ]],
];
const OPERATOR_BOUNDS = [
  ["NewOrganization", "/organizations", 201, [["name", text(200), text(201)], ["credit_usd", 0, "-1"], ["credit_usd", null, "1e3"]]],
  ["Credit", "/organizations/{own}/credits", 200, [["amount_usd", "0.000000001", "0.000"], ["amount_usd", 1, -1],
    ["reason", text(1000), text(1001)], ["reason", "x", " "]]],
  ["Adjustment", "/organizations/{own}/adjustments", 200, [["amount_usd", -1, "-0.0"], ["amount_usd", "0.5", 0]]],
];
const CHAT_BOUNDS = [
  ["session", text(256), text(257)], ["session", null, ""], ["deadline_ms", 1_140_000, 1_140_001], ["deadline_ms", null, 0],
  ["priority", "high", null], ["explain", "only", "no"],
  ["max_cost_usd", null, 0], ["models", ["auto"], null], ["providers", { only: [] }, { sort: [] }],
  ["max_price", { output: "15" }, { output: "x" }],
  ["weights", { quality: 1, cost: 0, latency: 0.5 }, { quality: -1, cost: 0, latency: 0 }], ["rescue", "buffer", "never"],
  ["escalate", null, "yes"],
];

function model(members) {
  return { id: "m", input_usd_per_mtok: "1", output_usd_per_mtok: "2", ...members };
}

/** Whether the schema of a body lets it pass. */
const fits = (name, body) => breaches(["components", "requestBodies", name, "content", "application/json", "schema"], body).length === 0;

async function bound(name, body, good, send) {
  const shown = `${name} ${JSON.stringify(body).slice(0, 300)}`;
  assert.equal(fits(name, body), good, `${shown}: by the schema`);
  const { status, body: answer } = await send(body);
  assert.equal(status < 300, good, `${shown}: by the worker ${status} ${JSON.stringify(answer)}`);
  assert.ok(good || status === 400, `${shown}: ${status}`);
}

test("bodies have the bounds that are documented", async () => {
  const { id: group } = await admin(201, "POST", "/groups", { name: "Bounds" });
  const { id: key } = await admin(201, "POST", "/api_keys", { name: "bounds" });
  const { id: hook } = await admin(201, "POST", "/webhook_endpoints", { url: "https://a.test" });
  const at = (path) => `/admin/v1${path.replace("{group}", group).replace("{key}", key).replace("{hook}", hook)}`;
  const rows = BOUNDS.map(([name, method, path, cases]) => [name, cases, (body) => call(method, at(path), own.adminKey, body)]);
  for (const [name, path, , cases] of OPERATOR_BOUNDS) {
    rows.push([name, cases, (body) => call("POST", `/platform/v1${path.replace("{own}", own.id)}`, here.operatorToken, body)]);
  }
  for (const [name, cases, send] of rows) {
    for (const [member, good, bad] of cases) {
      await bound(name, { ...example(name), [member]: good }, true, send);
      await bound(name, { ...example(name), [member]: bad }, false, send);
    }
    await bound(name, { ...example(name), nme: 1 }, false, send);
    await bound(name, [], false, send);
    if (name === "RoutingPolicy") await bound(name, { mode: null, data_policy: {}, max_price: { input: null } }, false, send);
  }
  const send = (body) => call("POST", "/v1/chat/completions", own.key, body);
  for (const [member, good, bad] of CHAT_BOUNDS) {
    await bound("Chat", { ...example("Chat"), megarouter: { explain: "only", [member]: good } }, true, send);
    await bound("Chat", { ...example("Chat"), megarouter: { explain: "only", [member]: bad } }, false, send);
  }
});

test("every operation that is served was walked", async () => {
  const missing = [];
  for (const one of operations) {
    if (!walked.has(`${one.method} ${one.template}`) && await isServed(one)) missing.push(`${one.method} ${one.template}`);
  }
  assert.deepEqual(missing, [], "walk these too: what nobody asks may have another shape");
});

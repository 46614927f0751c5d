// The choice among models over HTTP: what a request tells of itself, and what verdicts on answers teach.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { code, start, until } from "./harness.mjs";

let here, own;
before(async () => {
  here = await start();
  own = await here.newOrganization({ name: "Acme" });
});
after(() => here.close());

const cheap = "openai/gpt-5-nano", dear = "anthropic/claude-opus-4-5";
const feedback = (body, key = own.key) => here.call("POST", "/v1/feedback", key, body);
const decided = async (body) => {
  const answer = await here.ask(own.key, { model: "auto", megarouter: { explain: "only" }, ...body });
  assert.equal(answer.status, 200, JSON.stringify(answer.body));
  return answer.body.megarouter;
};
const user = (content) => [{ role: "user", content }];
const first = (told) => `${told.candidates[0].provider}/${told.candidates[0].model}`;

test("what looks hard is told from what looks easy, and gets an abler model", async () => {
  const easy = await decided({ messages: user("Say hello to Bob.") });
  const text = "Derive the Hamiltonian of a charged particle in a time-dependent electromagnetic field, find its conserved " +
    "quantities, calculate the energy levels for B = 2.4 T, and prove that the spectrum is discrete. ".repeat(6);
  const hard = await decided({ messages: user(text), reasoning_effort: "high" });
  assert.ok(easy.difficulty < hard.difficulty, `${easy.difficulty} ${hard.difficulty}`);
  assert.deepEqual([easy.reasoning_depth, hard.reasoning_depth], ["none", "high"]);
  const expected = ({ candidates }) => Number(candidates[0].cost_usd);
  assert.ok(expected(hard) > 3 * expected(easy), `${expected(easy)} ${expected(hard)}`);
  const again = await decided({ messages: user("SAY  hello to bob.") });
  assert.equal(first(again), first(easy), "spelling decides nothing");
});

test("verdicts on answers made elsewhere change what is chosen", async () => {
  const targets = [cheap, dear].map((id) => ({ provider: id.split("/")[0], model: id.split("/")[1] }));
  const put = await here.call("PUT", "/admin/v1/routes/folding", own.adminKey, { targets, mode: "balanced" });
  assert.equal(put.status, 200, JSON.stringify(put.body));
  const asked = (number) => ({ model: "folding", messages: user(`Fold a paper crane with ${number} wings.`) });
  assert.equal(first(await decided(asked(1))), cheap);
  for (let number = 0; number < 20; number++) {
    const outcomes = [{ model: cheap, score: 0 }, { model: dear, score: 1 }];
    const answer = await feedback({ request: asked(number), outcomes });
    assert.equal(answer.status, 202, JSON.stringify(answer.body));
    assert.deepEqual([answer.body.object, answer.body.outcomes], ["feedback", 2]);
  }
  // The first decision after it hears of it, the next one knows.
  await decided(asked(2));
  const told = await decided(asked(3));
  assert.equal(first(told), dear, JSON.stringify(told.candidates));
  const other = await decided({ model: cheap, messages: user("x") });
  assert.equal(first(other), cheap, "who names a model gets it");
});

test("a verdict on a call of one's own is taken, by its request's id", async () => {
  const { headers } = await here.ask(own.key, { model: cheap, messages: user("One call."), max_tokens: 20 });
  const id = headers.get("x-request-id");
  const taken = await until("the verdict is taken", async () => {
    const answer = await feedback({ request_id: id, score: 0.5 });
    return answer.status === 202 ? answer : null;
  });
  assert.deepEqual(taken.body, { object: "feedback", id, outcomes: 1 });
  const stranger = await here.newOrganization({ name: "Other" });
  assert.deepEqual(code(await feedback({ request_id: id, score: 1 }, stranger.key)), [404, "not_found"]);
  assert.deepEqual(code(await feedback({ request_id: "req_none", score: 1 })), [404, "not_found"]);
});

test("what the caller left open is filled in: tier and effort", async () => {
  const flexible = "openai/gpt-5-nano";
  const targets = [{ provider: "openai", model: "gpt-5-nano" }];
  await here.call("PUT", "/admin/v1/routes/open", own.adminKey, { targets, mode: "cost-first" });
  const body = { model: "open", max_tokens: 50, messages: user("Say hello to Bob.") };
  const asked = async (more) => {
    const answer = await here.ask(own.key, { ...body, ...more });
    assert.equal(answer.status, 200, JSON.stringify(answer.body));
    return { sent: (await here.sandbox.seen("openai")).last_request.body, answer };
  };
  const low = await asked({ megarouter: { priority: "low" } });
  assert.deepEqual([low.sent.service_tier, low.sent.reasoning_effort], ["flex", "minimal"]);
  const normal = await asked({});
  assert.deepEqual([normal.sent.service_tier, normal.sent.reasoning_effort], [undefined, "minimal"]);
  const own_words = await asked({ reasoning_effort: "high", service_tier: "default", megarouter: { priority: "low" } });
  assert.equal(own_words.sent.reasoning_effort, "high");
  const named = await asked({ model: flexible });
  assert.deepEqual([named.sent.service_tier, named.sent.reasoning_effort], [undefined, undefined], "who names a model decides");
});

test("feedback that says nothing is refused, in words that help", async () => {
  for (const [body, word] of [
    [{}, "request_id"], [{ request_id: "req_x" }, "request_id"], [{ request_id: "req_x", score: 2 }, "0"],
    [{ request: { messages: user("x") } }, "outcomes"], [{ request: "x", outcomes: [{ model: cheap, score: 1 }] }, "chat completion"],
    [{ request: { model: "auto", messages: user("x") }, outcomes: [{ model: cheap, score: -1 }] }, "0"], [{ thumbs: "up" }, "thumbs"],
  ]) {
    const answer = await feedback(body);
    assert.equal(answer.status, 400, JSON.stringify([body, answer.body]));
    assert.match(answer.body.error.message, new RegExp(word));
  }
  assert.deepEqual(code(await feedback({}, "mr_sk_forged")), [401, "invalid_key"]);
  assert.deepEqual(code(await here.call("GET", "/v1/feedback", own.key)), [405, "method_not_allowed"]);
});

// What happens to connections: refused by a provider, or closed by the caller.
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { Readable } from "node:stream";
import { after, before, test } from "node:test";
import { gzipSync } from "node:zlib";
import { entryOf } from "./books.mjs";
import { startInstance, until } from "./harness.mjs";

let here, own;
before(async () => {
  here = await startInstance();
  own = here.own;
});
after(() => here.close());

const booked = (answer) => entryOf(here.call, own.adminKey, answer.headers.get("x-request-id"), { ms: 4000 });

test("with every target down the caller is told so, and pays nothing", async () => {
  const targets = [];
  for (const name of ["down-a", "down-b"]) {
    await here.newProvider(own, name);
    await here.sandbox.set(name, { down: true });
    targets.push({ provider: name, model: "m" });
  }
  await here.call("PUT", "/admin/v1/routes/down", own.adminKey, { targets });
  for (const stream of [false, true]) {
    const answer = await here.ask(own.key, { model: "down", stream });
    assert.deepEqual([answer.status, answer.body.error.code], [503, "upstream_unreachable"]);
    assert.equal(answer.headers.get("x-should-retry"), "false");
    assert.equal(answer.headers.get("x-megarouter-attempts"), "4");
    const { amount_usd, call } = await booked(answer);
    assert.equal(amount_usd, "0");
    assert.deepEqual(call.attempts.map(({ outcome }) => outcome), Array(4).fill("connection"));
  }
});

/** Reads a stream's first bytes over a connection of its own, then closes it. */
async function hangUp(model, more) {
  const stop = new AbortController();
  const answer = await fetch(new URL("/v1/chat/completions", here.url), {
    method: "POST", signal: stop.signal,
    headers: { authorization: `Bearer ${own.key}`, "content-type": "application/json" },
    body: JSON.stringify({ model, max_tokens: 64, stream: true, messages: [{ role: "user", content: "count to 30" }], ...more }),
  });
  assert.equal(answer.status, 200);
  await answer.body.getReader().read();
  stop.abort();
  return answer;
}

// A native relay is chosen where usage was asked for and the answer is bounded; else each frame is read.
for (const [way, more] of [["pumped", {}], ["native", { stream_options: { include_usage: true } }]]) {
  test(`a hang-up ends a ${way} call where the provider then stops billing`, async () => {
    const name = `${way}-stops`;
    const model = await here.newProvider(own, name, { abort_stops_billing: true });
    await here.sandbox.set(name, { chunk_delay_ms: 50 });
    const answer = await hangUp(model, more);
    await until("the provider sees the hang-up", async () => (await here.sandbox.seen(name)).aborted === 1, { ms: 1000 });
    const { amount_usd, call } = await booked(answer);
    assert.equal(call.status, 499);
    assert.ok(Number(amount_usd) < 0 && call.usage.output < 30, `what was seen is what it costs: ${JSON.stringify(call)}`);
  });

  test(`a hang-up lets a ${way} call end where the provider bills on`, async () => {
    const name = `${way}-bills`;
    const model = await here.newProvider(own, name, { abort_stops_billing: false });
    await here.sandbox.set(name, { chunk_delay_ms: 20 });
    const answer = await hangUp(model, more);
    const { amount_usd, call } = await booked(answer);
    assert.equal((await here.sandbox.seen(name)).aborted, 0);
    assert.ok(Number(amount_usd) < 0 && call.usage.output >= 30 && !call.estimated, JSON.stringify(call));
  });
}

/** A provider that answers by `answer`, without measure. */
async function immoderate(name, answer) {
  const server = createServer((request, response) => request.resume().on("end", () => answer(response))).listen(0, "127.0.0.1");
  await once(server, "listening");
  after(() => server.close());
  return here.newProvider(own, name, { base_url: `http://127.0.0.1:${server.address().port}` });
}

const MIB = 1024 * 1024;

test("a native stream far beyond what was asked for is broken off", async () => {
  let sent = 0;
  const more = `data: ${JSON.stringify({ choices: [{ index: 0, delta: { content: "on ".repeat(20_000) }, finish_reason: null }] })}\n\n`;
  function* words() {
    for (; sent < 100 * MIB; sent += more.length) yield more;
    // An end, so that a worker that takes it all does not take for ever.
    yield 'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}\n\ndata: [DONE]\n\n';
  }
  const model = await immoderate("endless", (response) => {
    Readable.from(words()).pipe(response.writeHead(200, { "content-type": "text/event-stream" }));
  });
  const answer = await here.ask(own.key, { model, max_tokens: 100, stream: true, stream_options: { include_usage: true } });
  const errors = answer.events.filter(({ data }) => data.error);
  assert.deepEqual(errors.map(({ data }) => data.error.code), ["upstream_truncated"]);
  assert.ok(!answer.events.some(({ data }) => data === "[DONE]"));
  assert.equal(answer.comment?.provider, "endless");
  assert.ok(sent < 64 * MIB, `${sent} bytes were taken`);
});

test("a whole answer that unpacks to more than memory is broken off", async () => {
  const packed = gzipSync(JSON.stringify({ choices: [{ index: 0, message: { content: "on ".repeat(30 * MIB) }, finish_reason: "stop" }] }));
  assert.ok(packed.length < MIB);
  const model = await immoderate("bomb", (response) => {
    response.writeHead(200, { "content-type": "application/json", "content-encoding": "gzip", "content-length": packed.length });
    response.end(packed);
  });
  const answer = await here.ask(own.key, { model });
  assert.deepEqual([answer.status, answer.body.error?.code], [503, "upstream_unreachable"]);
});

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { chat, Client, parse } from "./client.mjs";

let c;
before(async () => (c = await Client.start()));
after(() => c.close());

const path = (name) => `/${name}/v1/chat/completions`;
const streamed = chat("count to 20", { stream: true });
const messages = chat("count to 20", { stream: true, max_tokens: 500 });
const eventsOf = (bytes) => bytes.toString().split("\n\n").filter(Boolean);

async function behaving(name, behaviour, body = streamed, at = path(name)) {
  assert.equal((await c.control(name, behaviour)).status, 200);
  return c.send("POST", at, body);
}

test("unknown and ill-typed members are refused by name", async () => {
  for (const [behaviour, name] of [[{ downn: true }, "downn"], [{ status: 99 }, "status"], [{ cut_after: -1 }, "cut_after"], [{ down: "yes" }, "down"], [{ usage: 3 }, "usage"], [{ times: 0 }, "times"]]) {
    const { status, body } = await c.control("a", behaviour);
    assert.equal(status, 400);
    assert.match(body.error.message, new RegExp(`'${name}'`));
  }
  assert.equal((await c.control("a", "[")).status, 400);
});

test("down: no answer at all", async () => {
  await assert.rejects(behaving("down", { down: true }), /socket hang up|ECONNRESET/);
  const { calls, aborted } = await c.seen("down");
  assert.deepEqual([calls, aborted], [1, 0]);
});

test("status, retry_after and body", async () => {
  const limited = await behaving("status", { status: 429, retry_after: 7 });
  assert.equal(limited.status, 429);
  assert.equal(limited.headers["retry-after"], "7");
  assert.equal(JSON.parse(limited.body).error.type, "rate_limit_error");
  const overloaded = await behaving("status", { status: 529 }, messages, "/status/v1/messages");
  assert.equal(JSON.parse(overloaded.body).error.type, "overloaded_error");
  const own = await behaving("status", { status: 500, body: { oops: 1 } });
  assert.equal(own.body.toString(), '{"oops":1}');
  const html = await behaving("status", { status: 502, body: "<html>bad gateway</html>" });
  assert.deepEqual([html.headers["content-type"], html.body.toString()], ["text/html", "<html>bad gateway</html>"]);
});

test("delays: head, first token, between events", async () => {
  const head = await behaving("slow", { head_delay_ms: 60 });
  assert.ok(head.headAt >= 55);
  const first = await behaving("slow", { first_token_delay_ms: 80 });
  assert.ok(first.headAt < 60 && first.totalMs >= 75);
  const paced = await behaving("slow", { chunk_delay_ms: 4 }, chat("count to 8", { stream: true }));
  assert.ok(paced.totalMs >= 40 && paced.chunks.length > 8);
});

test("cut_after ends the body cleanly after n events", async () => {
  const { body } = await behaving("cut", { cut_after: 5 });
  assert.equal(eventsOf(body).length, 5);
  assert.doesNotMatch(body.toString(), /DONE/);
  const whole = await behaving("cut", { cut_after: 1 }, chat("hi"));
  assert.equal(whole.status, 200);
  assert.throws(() => JSON.parse(whole.body));
});

test("reset_after breaks the connection after n events", async () => {
  await assert.rejects(behaving("reset", { reset_after: 5 }), (error) => eventsOf(error.partial).length === 5);
  await assert.rejects(behaving("reset", { reset_after: 5 }, chat("hi")), (error) => error.partial.length > 0);
  assert.equal((await c.seen("reset")).aborted, 0);
});

test("stall_after falls silent and keeps the connection", async () => {
  await c.control("stall", { stall_after: 3 });
  const call = c.send("POST", path("stall"), streamed);
  const winner = await Promise.race([call, new Promise((resolve) => setTimeout(resolve, 120, "silence"))]);
  assert.equal(winner, "silence");
  call.catch(() => {});
});

test("malformed_at breaks one event", async () => {
  const { body } = await behaving("broken", { malformed_at: 3 });
  const bad = eventsOf(body).map((e) => e.slice(6)).filter((data) => data !== "[DONE]").flatMap((data, i) => {
    try {
      return JSON.parse(data) && [];
    } catch {
      return [i + 1];
    }
  });
  assert.deepEqual(bad, [3]);
  const whole = await behaving("broken", { malformed_at: 1 }, chat("hi"));
  assert.throws(() => JSON.parse(whole.body));
});

test("no_terminator leaves out the last word only", async () => {
  const openai = await behaving("end", { no_terminator: true });
  assert.match(eventsOf(openai.body).at(-1), /"finish_reason":"stop"/);
  const anthropic = await behaving("end", { no_terminator: true }, messages, "/end/v1/messages");
  assert.match(eventsOf(anthropic.body).at(-1), /^event: message_delta/);
});

test("reject_prefill", async () => {
  const begun = { model: "m", messages: [{ role: "user", content: "hi" }, { role: "assistant", content: "Well" }] };
  assert.equal((await c.send("POST", path("fill"), begun)).status, 200);
  assert.equal((await behaving("fill", { reject_prefill: true }, begun)).status, 400);
  assert.equal((await c.send("POST", path("fill"), chat("hi"))).status, 200);
});

test("usage: overridden, or left out", async () => {
  const odd = await behaving("meter", { usage: { prompt_tokens: 1, completion_tokens: 2 } }, chat("hi"));
  assert.deepEqual(JSON.parse(odd.body).usage, { prompt_tokens: 1, completion_tokens: 2 });
  const none = await behaving("meter", { usage: null }, { ...streamed, stream_options: { include_usage: true } });
  assert.doesNotMatch(none.body.toString(), /usage/);
  const silent = await behaving("meter", { usage: null }, messages, "/meter/v1/messages");
  assert.doesNotMatch(silent.body.toString(), /usage/);
});

test("chunk_bytes splits anywhere", async () => {
  const { body, chunks } = await behaving("split", { chunk_bytes: 7 }, chat("héllo ✓", { stream: true }));
  assert.ok(chunks.length > 50);
  assert.equal(parse(body.toString()).at(-1).data, "[DONE]");
});

test("times wears off; DELETE resets", async () => {
  await c.control("times", { status: 503, times: 2 });
  const statuses = [];
  for (let i = 0; i < 3; i++) statuses.push((await c.send("POST", path("times"), chat("hi"))).status);
  assert.deepEqual(statuses, [503, 503, 200]);
  await c.control("times", { status: 503 });
  await c.send("DELETE", "/control/times");
  assert.equal((await c.send("POST", path("times"), chat("hi"))).status, 200);
  assert.equal((await c.seen("times")).calls, 1);
});

test("providers do not share behaviour", async () => {
  await c.control("ill", { status: 500 });
  assert.equal((await c.send("POST", path("well"), chat("hi"))).status, 200);
});

test("the last request is kept, its credentials shortened", async () => {
  await c.send("POST", `${path("look")}?x=1`, chat("hi"), { headers: { authorization: "Bearer secret-secret", "x-other": "a long header value" } });
  const { last_request: last } = await c.seen("look");
  assert.deepEqual([last.method, last.path, last.body], ["POST", "/look/v1/chat/completions?x=1", chat("hi")]);
  assert.equal(last.headers.authorization, "Bearer secre");
  assert.equal(last.headers["x-other"], "a long header value");
  const all = JSON.parse((await c.send("GET", "/control")).body);
  assert.ok(all.providers.look);
});

test("a client that hangs up is counted, and its call is booked as unfinished", async () => {
  await c.control("hang", { chunk_delay_ms: 5 });
  let id;
  await assert.rejects(c.send("POST", path("hang"), streamed, { hangUpAfter: 4 }), (error) => {
    id = parse(error.partial.toString())[0].data.id;
    return true;
  });
  await new Promise((resolve) => setTimeout(resolve, 40));
  assert.equal((await c.seen("hang")).aborted, 1);
  const booked = JSON.parse((await c.send("GET", `/hang/v1/generation?id=${id}`)).body);
  assert.equal(booked.finished, false);
  assert.ok(booked.usage.completion_tokens < 10);
});

test("as a command: one line of JSON, and gone at SIGTERM", async () => {
  const child = spawn(process.execPath, [fileURLToPath(new URL("server.mjs", import.meta.url))], { env: { ...process.env, SANDBOX_PORT: "0" } });
  const [line] = await once(child.stdout, "data");
  const { url } = JSON.parse(line);
  assert.equal((await fetch(`${url}/healthz`)).status, 200);
  const open = fetch(`${url}/x/v1/chat/completions`, { method: "POST", headers: { authorization: "k" }, body: JSON.stringify(streamed) });
  await (await open).text();
  child.kill("SIGTERM");
  await once(child, "exit");
});

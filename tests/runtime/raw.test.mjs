// Faults below HTTP: resets, half-open connections, bytes at the wrong place. Rows as in docs/faults.md.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { startInstance, textOf } from "./harness.mjs";
import { DONE, LAST, STOP, STREAM, USAGE, chunk, head, says, startRaw, wait } from "./raw.mjs";

const HELLO = "Grüße, 世界! 🌍";
const WHOLE = JSON.stringify({
  id: "c1", object: "chat.completion", created: 1, model: "m", usage: { prompt_tokens: 9, completion_tokens: 4, total_tokens: 13 },
  choices: [{ index: 0, message: { role: "assistant", content: HELLO }, finish_reason: "stop" }],
});
const ANSWER = [says("Grüße, 世"), says("界! 🌍"), STOP, USAGE, DONE].join("");
const sized = (body, more = "") => `${head(200, "application/json", `${more}content-length: ${Buffer.byteLength(body)}\r\n\r\n`)}${body}`;

/** Each byte is a chunk and a packet of its own. */
async function byByte(text, send) {
  for (const byte of Buffer.from(text)) {
    await send(chunk(Buffer.from([byte])));
    if (byte >= 0x80) await wait(1); // so that they do not travel together
  }
}

/** What never gives an answer. */
const early = {
  "u1-reset-at-once": (socket) => socket.resetAndDestroy(),
  "u1-closed-at-once": (socket) => socket.end(),
  "u1-no-http": async (socket, send) => { await send("SSH-2.0-OpenSSH_9.6\r\n"); socket.end(); },
  "u4-half-open": () => {},
  "u4-slow-drip": async (socket, send) => { for (const byte of STREAM) { await send(byte); await wait(200); } },
  "u5-reset-before-content": async (socket, send) => { await send(STREAM, chunk(": hello\n\n")); await wait(20); socket.resetAndDestroy(); },
  "u7-cut-whole": async (socket, send) => { await send(sized(WHOLE).slice(0, -30)); socket.end(); },
  "u7-cut-chunk": async (socket, send) => { await send(STREAM, "fff\r\ndata: {"); socket.end(); },
  "u8-bad-chunk": async (socket, send) => { await send(STREAM, "zz\r\nno\r\n"); socket.end(); },
};

/** What answers whole all the same. */
const oddly = {
  "each byte alone": async (socket, send) => { await send(STREAM); await byByte(ANSWER, send); await send(LAST); },
  "garbage after the end": async (socket, send) => { await send(STREAM, chunk(`${ANSWER}\u0000\u0001 garbage {"\n\ndata: {"more":\n\n`), LAST); },
  "no last chunk": async (socket, send) => { await send(STREAM, chunk(ANSWER)); socket.end(); },
  "reset after the end": async (socket, send) => { await send(STREAM, chunk(ANSWER)); await wait(50); socket.resetAndDestroy(); },
  "no length at all": async (socket, send) => { await send(head(200, "text/event-stream", "connection: close\r\n\r\n"), ANSWER); socket.end(); },
  "carriage returns": async (socket, send) => { await send(STREAM, chunk(ANSWER.replaceAll("\n", "\r\n")), LAST); },
  "a mark of byte order": async (socket, send) => { await send(STREAM, chunk(`\uFEFF${ANSWER}`), LAST); },
};

/** What breaks in the middle. */
const breaking = {
  "u7-reset": async (socket, send) => { await send(STREAM, chunk(says("Grüße, "))); await wait(50); socket.resetAndDestroy(); },
  "u7-end": async (socket, send) => { await send(STREAM, chunk(says("Grüße, "))); await wait(50); socket.end(); },
  "u7-cut-in-a-letter": async (socket, send) => {
    const frame = Buffer.from(says("世界"));
    await send(STREAM, chunk(says("Grüße, ")), chunk(frame.subarray(0, frame.indexOf(Buffer.from("世")) + 1)));
    await wait(50);
    socket.end();
  },
  "u8-bad-chunk-later": async (socket, send) => { await send(STREAM, chunk(says("Grüße, "))); await wait(50); await send("-1\r\n???"); socket.end(); },
  "u6-half-open": async (socket, send) => { await send(STREAM, chunk(says("Grüße, "))); },
};

const good = async (socket, send) => { await send(STREAM, chunk(ANSWER), LAST); };
const goodWhole = async (socket, send) => { await send(sized(WHOLE)); };
const PADDING = "x".repeat(64 * 1024), FRAMES = 200;
const slug = (what) => what.replaceAll(/\W/g, "-");
const plays = {
  ...early, ...breaking, ...Object.fromEntries(Object.entries(oddly).map(([what, play]) => [slug(what), play])), good, "good-whole": goodWhole,
  // Thirteen megabytes: more than the buffers of a connection take.
  long: async (socket, send) => {
    await send(STREAM);
    for (let frame = 0; frame < FRAMES; frame++) await send(chunk(says("on ", { padding: PADDING })));
    await send(chunk([STOP, USAGE, DONE].join("")), LAST);
  },
};
const ways = [["pumped", {}], ["native", { stream_options: { include_usage: true } }]];

/** Addresses nobody answers at: a name that is none, and one whose certificate nobody could trust, for it has none. */
const nowhere = { "u2-no-name": () => "http://provider.invalid", "u3-no-certificate": () => raw.url.replace("http:", "https:") };
let here, own, raw;
before(async () => {
  [here, raw] = [await startInstance(), await startRaw(plays)];
  own = here.own;
  for (const name of Object.keys(plays)) {
    const models = [{ id: "m", input_usd_per_mtok: "1", output_usd_per_mtok: "2", max_output_tokens: 2_000_000, context_length: 4_000_000 }];
    await here.newProvider(own, name, { base_url: `${raw.url}/${name}`, models });
  }
  for (const [name, url] of Object.entries(nowhere)) await here.newProvider(own, name, { base_url: url() });
});
after(async () => {
  raw.close();
  await here.close();
});

/** Asks the first of them, and then the others; they are all waited for only a little. */
async function ask(names, body) {
  const alias = `route-${names.join("-")}-${body.rescue ?? ""}`.slice(0, 60);
  const { rescue, ...rest } = body;
  const route = {
    targets: names.map((provider) => ({ provider, model: "m" })), ...(rescue && { rescue }),
    deadlines: { head_ms: 700, first_token_ms: 900, stall_ms: 500, total_ms: 8_000 },
  };
  const put = await here.call("PUT", `/admin/v1/routes/${alias}`, own.adminKey, route);
  assert.equal(put.status, 200, JSON.stringify(put.body));
  return here.ask(own.key, { model: alias, max_tokens: 300, ...rest });
}

describe("the next provider answers, and the caller sees nothing of the first", { concurrency: 4 }, () => {
  for (const name of [...Object.keys(early), ...Object.keys(nowhere)]) {
    for (const stream of [false, true]) {
      test(`${name} (${stream ? "streamed" : "whole"})`, async () => {
        const next = stream ? "good" : "good-whole";
        const answer = await ask([name, next], { stream });
        assert.equal(answer.status, 200, JSON.stringify(answer.body));
        assert.equal(answer.headers.get("x-megarouter-provider"), next);
        assert.equal(stream ? textOf(answer.events) : answer.body.choices[0].message.content, HELLO);
        if (!nowhere[name]) assert.ok(raw.calls(name) >= 1 && raw.calls(name) <= 6, `${raw.calls(name)} calls`);
      });
    }
  }
});

for (const [way, more] of ways) {
  for (const what of Object.keys(oddly)) {
    test(`a ${way} answer is whole with ${what}`, async () => {
      const answer = await ask([slug(what)], { stream: true, ...more });
      assert.equal(textOf(answer.events.filter(({ data }) => data.choices)), HELLO, answer.text);
      assert.equal(answer.events.filter(({ data }) => data === "[DONE]").length, 1, answer.text);
      assert.ok(!answer.events.some(({ data }) => data.error) && answer.comment?.cost_usd, answer.text);
    });
  }

  for (const name of Object.keys(breaking)) {
    test(`${name}: a ${way} answer is written on, or says that it broke`, async () => {
      const rescued = await ask([name, "good"], { stream: true, ...more });
      const told = rescued.events.filter(({ data }) => data.error);
      // Half a frame that went out natively cannot be taken back: then the caller is told.
      if (way === "native" && name === "u7-cut-in-a-letter") {
        assert.equal(told.length, 1, rescued.text);
      } else {
        assert.deepEqual([textOf(rescued.events), told.length, rescued.comment?.rescued], [HELLO, 0, true], rescued.text);
      }
      const alone = await ask([name], { stream: true, rescue: "off", ...more });
      const errors = alone.events.filter(({ data }) => data.error);
      assert.equal(errors.length, 1, alone.text);
      assert.ok(!alone.text.includes("[DONE]") && alone.comment, alone.text);
    });
  }

  test(`p13: a caller who reads a ${way} stream slowly is not taken for a silent provider`, async () => {
    await ask(["long"], { stream: false }); // makes the route
    const body = { model: "route-long-", stream: true, max_tokens: way === "native" ? 20_000 : 1_000_000, messages: [{ role: "user", content: "go" }], ...more };
    const answer = await fetch(new URL("/v1/chat/completions", here.url), {
      method: "POST", headers: { "content-type": "application/json", authorization: `Bearer ${own.key}` }, body: JSON.stringify(body),
    });
    const reader = answer.body.getReader(), decoder = new TextDecoder();
    let text = decoder.decode((await reader.read()).value, { stream: true });
    await wait(1_500);
    for (let read; !(read = await reader.read()).done;) text += decoder.decode(read.value, { stream: true });
    assert.equal(text.match(/"content":"on "/g).length, FRAMES);
    assert.ok(text.includes("data: [DONE]") && !text.includes('"error"'), text.slice(-600));
  });
}

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { Client } from "./client.mjs";

const FOLDER = new URL("../fixtures/", import.meta.url);
const { fixtures } = JSON.parse(readFileSync(new URL("index.json", FOLDER)));
const bytesOf = (row) => readFileSync(new URL(row.response_file, FOLDER));
const REBUILT = /one upstream JSON event per line/;

const own = mkdtempSync(join(tmpdir(), "sandbox-"));
writeFileSync(join(own, "hello.sse"), "data: hello\n\n");
writeFileSync(join(own, "index.json"), JSON.stringify({ fixtures: [{ id: "own", stream: true, status: 200, response_file: "hello.sse" }] }));

let c;
before(async () => (c = await Client.start({ fixtures: own })));
after(async () => {
  await c.close();
  rmSync(own, { recursive: true });
});

const replay = (id, more) => c.send("POST", "/any/v1/chat/completions", { model: `fx:${id}`, ...more });

// The envelope, put back the way index.json says.
function expected(row) {
  if (!REBUILT.test(row.response_form)) return bytesOf(row);
  const named = /^(messages|responses|chat_v2)$/.test(row.endpoint);
  const lines = bytesOf(row).toString().split("\n").filter(Boolean);
  const text = lines.map((line) => `${named ? `event: ${JSON.parse(line).type}\n` : ""}data: ${line}\n\n`).join("");
  return Buffer.from(text + (/completions$/.test(row.endpoint) ? "data: [DONE]\n\n" : ""));
}

test("every recorded exchange comes back byte for byte", async () => {
  await Promise.all(fixtures.map(async (row) => {
    const { status, headers, body } = await replay(row.id);
    assert.ok(body.equals(expected(row)), row.id);
    assert.equal(status, row.status ?? 400, row.id);
    assert.equal(headers["x-megarouter-simulated"], "true");
    for (const [name, value] of Object.entries(row.response_headers)) {
      if (name !== "transfer-encoding") assert.equal(headers[name], value, row.id);
    }
  }));
});

test("every exchange names its source and licence", () => {
  for (const { id, source } of fixtures) assert.ok(source.repo && source.path && /^(MIT|Apache-2\.0)$/.test(source.licence), id);
});

test("split at any byte, the bytes stay", async () => {
  await c.control("any", { chunk_bytes: 113 });
  for (const row of fixtures.filter((f) => f.stream).slice(0, 12)) assert.ok((await replay(row.id)).body.equals(expected(row)), row.id);
  await c.send("DELETE", "/control/any");
});

test("a replay misbehaves like any answer", async () => {
  const row = fixtures.find((f) => f.provider === "anthropic" && f.features.includes("sse"));
  await c.control("any", { cut_after: 3, times: 1 });
  const cut = (await replay(row.id)).body.toString();
  assert.equal(cut.split("\n\n").filter(Boolean).length, 3);
  await c.control("any", { no_terminator: true, times: 1 });
  assert.doesNotMatch((await replay(row.id)).body.toString(), /event: message_stop/);
});

test("the model may stand in the path, and any dialect replays", async () => {
  const row = fixtures.find((f) => f.endpoint === "streamGenerateContent");
  const path = `/g/v1beta/models/${encodeURIComponent(`fx:${row.id}`)}:streamGenerateContent?alt=sse`;
  assert.ok((await c.send("POST", path, {})).body.equals(expected(row)));
});

test("a folder of one's own is added; unknown ids are 404", async () => {
  assert.equal((await replay("own")).body.toString(), "data: hello\n\n");
  assert.equal((await replay("none")).status, 404);
});

// Recorded exchanges, all in memory: model `fx:<id>` answers with exactly the bytes the real provider sent.
import { readFileSync } from "node:fs";
import { join } from "node:path";

// These describe the recorded connection, not ours.
const HOP_HEADERS = new Set(["transfer-encoding", "content-length", "content-encoding", "connection", "keep-alive", "date"]);
const NAMES_EVENTS = /^(messages|responses|chat_v2)$/;
const ENDS_WITH_DONE = /^(chat\.completions|completions)$/;

export const fixtureId = (model) => (typeof model === "string" ? model.match(/(?:^|[@/])fx:(.+)$/)?.[1] : undefined);

export function loadFixtures(folders) {
  const fixtures = new Map();
  for (const folder of folders) {
    const index = JSON.parse(readFileSync(join(folder, "index.json"), "utf8"));
    for (const row of index.fixtures ?? index) fixtures.set(row.id, prepare(folder, row));
  }
  return fixtures;
}

function prepare(folder, row) {
  const file = readFileSync(join(folder, row.response_file));
  const body = /one upstream JSON event per line/.test(row.response_form ?? "") ? rebuilt(file.toString("utf8"), row) : file;
  const recorded = Object.entries(row.response_headers ?? {}).filter(([name]) => !HOP_HEADERS.has(name.toLowerCase()));
  return {
    status: row.status ?? (failed(body) ? 400 : 200),
    headers: { "content-type": row.stream ? "text/event-stream" : "application/json", ...Object.fromEntries(recorded) },
    stream: row.stream === true,
    body,
    events: row.stream ? split(body, row.response_headers?.["content-type"]) : [body],
  };
}

// Payload lines back into the envelope they were taken from.
function rebuilt(text, row) {
  const lines = text.split(/\r?\n/).filter(Boolean);
  const frames = lines.map((line) => {
    const name = NAMES_EVENTS.test(row.endpoint) ? `event: ${JSON.parse(line).type}\n` : "";
    return `${name}data: ${line}\n\n`;
  });
  if (ENDS_WITH_DONE.test(row.endpoint)) frames.push("data: [DONE]\n\n");
  return Buffer.from(frames.join(""));
}

// A recording that lost its status is an error if it looks like one.
function failed(body) {
  try {
    return Boolean(JSON.parse(body.toString("utf8")).error);
  } catch {
    return false;
  }
}

function split(body, type = "") {
  return type.includes("amazon.eventstream") ? splitBinary(body) : splitText(body);
}

function splitText(body) {
  const events = [];
  const text = body.toString("latin1");
  let from = 0;
  for (const { index, 0: gap } of text.matchAll(/(?:\r\n|\n|\r)(?:\r\n|\n|\r)/g)) {
    const to = index + gap.length;
    if (index < from) continue;
    events.push(body.subarray(from, to));
    from = to;
  }
  if (from < body.length) events.push(body.subarray(from));
  return events;
}

function splitBinary(body) {
  const events = [];
  for (let from = 0; from < body.length; ) {
    const to = from + body.readUInt32BE(from);
    events.push(body.subarray(from, to));
    from = to;
  }
  return events;
}

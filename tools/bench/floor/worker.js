// The least a gateway can do on this platform. The first segment of the path names the variant.
import { DurableObject } from "cloudflare:workers";

const decoder = new TextDecoder();

export default {
  async fetch(request, env, ctx) {
    const { pathname } = new URL(request.url);
    const cut = pathname.indexOf("/", 1);
    const to = env.PROVIDER + pathname.slice(cut);
    const variant = variants[pathname.slice(1, cut)];
    return variant ? variant(to, request, env, ctx) : new Response(null, { status: 404 });
  },
};

const forward = (to, request, body) => fetch(to, { method: "POST", headers: request.headers, body });

const variants = {
  /** Bytes in, bytes out, never looked at. */
  raw: (to, request) => forward(to, request, request.body),

  /** A hold before the call and a posting after the answer, each one row of a Durable Object, by RPC. */
  async dorpc(to, request, env, ctx) {
    const account = env.LEDGER.get(env.LEDGER.idFromName("one"));
    const body = await request.text();
    const hold = await account.hold("key", 1200);
    const answer = await forward(to, request, body);
    const post = (used) => ctx.waitUntil(account.post(hold, used));
    if (answer.headers.get("content-type").startsWith("text/event-stream")) {
      return new Response(answer.body.pipeThrough(lastChunks((tail) => post(tokens(tail)))), answer);
    }
    const text = await answer.text();
    post(JSON.parse(text).usage.total_tokens);
    return new Response(text, answer);
  },

  /** The stream stays native, and a second branch of it is collected for its usage. */
  async teepipe(to, request, env, ctx) {
    const answer = await forward(to, request, request.body);
    const [caller, meter] = answer.body.tee();
    // Without this pipe between, the collecting reader's large reads would hold the caller's branch back.
    const { readable, writable } = new IdentityTransformStream();
    const collected = new Response(readable).arrayBuffer();
    ctx.waitUntil(Promise.all([meter.pipeTo(writable), collected.then((bytes) => tokens(decoder.decode(bytes.slice(-2048))))]));
    return new Response(caller, answer);
  },
};

function tokens(text) {
  const found = /"total_tokens":(\d+)/.exec(text);
  if (!found) console.error("the stream ended without usage");
  return Number(found?.[1] ?? 0);
}

/** Passes chunks on, and hands over the text of the last three at the end. */
function lastChunks(done) {
  const last = [];
  return new TransformStream({
    transform(chunk, controller) {
      last.push(chunk);
      if (last.length > 3) last.shift();
      controller.enqueue(chunk);
    },
    flush: () => done(last.map((chunk) => decoder.decode(chunk)).join("")),
  });
}

export class Ledger extends DurableObject {
  constructor(ctx, env) {
    super(ctx, env);
    this.sql = ctx.storage.sql;
    this.sql.exec("CREATE TABLE IF NOT EXISTS hold(id INTEGER PRIMARY KEY, key TEXT, nanos INTEGER)");
    this.sql.exec("CREATE TABLE IF NOT EXISTS post(id INTEGER PRIMARY KEY, hold INTEGER, nanos INTEGER)");
  }
  hold(key, nanos) { return this.sql.exec("INSERT INTO hold(key, nanos) VALUES (?, ?) RETURNING id", key, nanos).one().id; }
  post(hold, nanos) { this.sql.exec("INSERT INTO post(hold, nanos) VALUES (?, ?)", hold, nanos); }
}

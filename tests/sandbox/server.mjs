// The sandbox: any number of simulated model providers behind one port. See README.md.
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";
import { broken, sendStream, sendWhole, tearDown } from "./deliver.mjs";
import { compose } from "./answer.mjs";
import { Control, fault } from "./control.mjs";
import { openaiChat } from "./dialects/openai_chat.mjs";
import { Generations } from "./generations.mjs";
import { fixtureId, loadFixtures } from "./replay.mjs";
import { Refusal, STATUS_TEXT } from "./refusal.mjs";
import { route } from "./route.mjs";
import { hash, hex } from "./words.mjs";

const SIMULATED = { "x-megarouter-simulated": "true" };
const JSON_TYPE = "application/json";
const FIXTURES = fileURLToPath(new URL("../fixtures", import.meta.url));
const CREDENTIALS = ["authorization", "x-api-key", "api-key", "x-goog-api-key"];

export async function startSandbox({ port = 0, fixtures } = {}) {
  const sandbox = new Sandbox(loadFixtures([FIXTURES, ...(fixtures ? [fixtures] : [])]));
  const server = createServer({ keepAliveTimeout: 120_000, requestTimeout: 0 }, (req, res) => sandbox.serve(req, res));
  await new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, "127.0.0.1", resolve);
  });
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    close: () => new Promise((resolve) => {
      server.close(resolve);
      server.closeAllConnections();
    }),
  };
}

class Sandbox {
  control = new Control();
  generations = new Generations();
  served = 0;

  constructor(fixtures) {
    this.fixtures = fixtures;
  }

  async serve(req, res) {
    try {
      const raw = await bodyOf(req);
      const url = new URL(req.url, "http://sandbox");
      const [, first, ...rest] = url.pathname.split("/");
      if (first === "healthz") json(res, 200, { status: "ok" });
      else if (first === "control") this.command(req, res, rest.map(decodeURIComponent).join("/"), raw);
      else await this.provide(req, res, decodeURIComponent(first), url, raw);
    } catch (error) {
      if (!res.headersSent) json(res, 500, { error: { message: `sandbox: ${error.message}`, type: "server_error", param: null, code: null } });
      else tearDown(res);
      if (error.code !== "ECONNRESET") console.error(error);
    }
  }

  command(req, res, name, raw) {
    if (!name) return json(res, req.method === "GET" ? 200 : 405, req.method === "GET" ? this.control.view() : complaint("use GET"));
    if (req.method === "GET") return json(res, 200, this.control.of(name).view());
    if (req.method === "DELETE") {
      this.control.reset(name);
      return json(res, 200, this.control.of(name).view());
    }
    if (req.method !== "PUT") return json(res, 405, complaint("use PUT, GET or DELETE"));
    const behaviour = parsed(raw);
    const wrong = behaviour === undefined ? "the body is not JSON" : fault(behaviour);
    if (wrong) return json(res, 400, complaint(wrong));
    this.control.of(name).set(behaviour);
    return json(res, 200, this.control.of(name).view());
  }

  async provide(req, res, name, url, raw) {
    if (url.pathname.endsWith("/generation")) return this.generation(res, url.searchParams.get("id"));
    const provider = this.control.of(name);
    const behaviour = provider.take();
    const body = parsed(raw);
    provider.saw(req.method, req.url, req.headers, body ?? raw);
    res.on("close", () => {
      if (!res.writableFinished && !res.tornDown) provider.aborted++;
    });
    if (behaviour.down) return tearDown(res);

    const found = route(req.method, url.pathname);
    const dialect = found?.dialect ?? openaiChat;
    const call = this.call(name, found, req, url, raw, body, behaviour);
    try {
      if (!found) throw new Refusal(404, `Invalid URL (${req.method} ${url.pathname})`);
      if (behaviour.status >= 300 || behaviour.body !== undefined) return await canned(res, dialect, call, behaviour);
      if (!CREDENTIALS.some((header) => req.headers[header]) && !url.searchParams.get("key")) throw new Refusal(401, dialect.unauthorized);
      return await this.answer(res, dialect, call, behaviour);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      return sendWhole(res, refusal(dialect, call, error), { head_delay_ms: behaviour.head_delay_ms });
    }
  }

  call(provider, found, req, url, raw, body, { usage }) {
    const key = hex(hash(raw, hash(provider))) + hex(hash(raw));
    return {
      provider, key, body,
      id: `${key}${(this.served++).toString(36)}`,
      created: Math.floor(Date.now() / 1000),
      model: found?.model,
      action: found?.action,
      method: req.method,
      query: url.searchParams,
      headers: req.headers,
      usageOr: (counted) => (usage === undefined ? counted : usage ?? undefined),
    };
  }

  async answer(res, dialect, call, behaviour) {
    if (call.method === "POST" && (typeof call.body !== "object" || call.body === null || Array.isArray(call.body))) {
      throw new Refusal(400, "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP library correctly. The API expects a JSON payload, but what was sent was not valid JSON.)");
    }
    const id = fixtureId(call.model ?? call.body?.model);
    if (id !== undefined) return this.replay(res, id, behaviour);
    const headers = { ...SIMULATED, ...dialect.headers(call) };
    const prompt = dialect.read(call);
    if (dialect.direct) return sendWhole(res, { status: 200, headers: { ...headers, "content-type": JSON_TYPE }, body: JSON.stringify(dialect.direct(prompt, call)) }, behaviour);
    if (behaviour.reject_prefill && prompt.endsWithAssistant) {
      throw new Refusal(400, "This model does not support assistant message prefill. The conversation must end with a user message.");
    }
    const answer = compose(prompt, call);
    const row = this.generations.open(dialect.responseId(call), prompt.model, answer.usage);
    const status = behaviour.status ?? 200;
    if (!prompt.stream) {
      const body = JSON.stringify(dialect.whole(answer, prompt, call));
      return sendWhole(res, { status, headers: { ...headers, "content-type": JSON_TYPE }, body }, behaviour, row);
    }
    return sendStream(res, {
      status,
      headers: { ...headers, "content-type": dialect.streamType(prompt), "cache-control": "no-cache" },
      events: dialect.events(answer, prompt, call),
      frame: dialect.frame,
      spoil: (event) => dialect.frame({ ...event, data: broken(event.data) }),
    }, behaviour, row);
  }

  async replay(res, id, behaviour) {
    const fixture = this.fixtures.get(id);
    if (!fixture) throw new Refusal(404, `There is no recorded exchange '${id}'.`, { code: "model_not_found" });
    const { status, body, events } = fixture;
    const headers = { ...SIMULATED, ...fixture.headers };
    if (!fixture.stream) return sendWhole(res, { status, headers, body }, behaviour);
    const list = events.map((bytes) => ({ bytes, content: true, last: terminates(bytes) }));
    return sendStream(res, { status, headers, events: list, frame: (e) => e.bytes, spoil: (e) => broken(e.bytes) }, behaviour);
  }

  generation(res, id) {
    const found = this.generations.find(id);
    return found ? json(res, 200, found) : json(res, 404, complaint(`no generation '${id}'`));
  }
}

const LAST_EVENT = /^(data: ?\[DONE\]|event: ?(message_stop|message-end|response\.(completed|incomplete|failed))\b)/;
const terminates = (bytes) => LAST_EVENT.test(bytes.toString("latin1", 0, 64));
const complaint = (message) => ({ error: { message, type: "invalid_request_error", param: null, code: null } });

function refusal(dialect, call, { status, message, detail }) {
  return {
    status,
    headers: { ...SIMULATED, ...dialect.headers(call), ...dialect.errorHeaders?.(status), "content-type": JSON_TYPE },
    body: JSON.stringify(dialect.error(status, message, detail, call.provider, call)),
  };
}

// The failure the control ordered: in the dialect's own shape, or word for word.
function canned(res, dialect, call, b) {
  const status = b.status ?? 200;
  const text = typeof b.body === "string" ? b.body : JSON.stringify(b.body);
  const answer = refusal(dialect, call, { status, message: STATUS_TEXT[status] ?? `The server answered ${status}.`, detail: {} });
  if (text !== undefined) {
    answer.body = text;
    answer.headers["content-type"] = /^\s*[[{]/.test(text) ? JSON_TYPE : /^\s*</.test(text) ? "text/html" : "text/plain";
  }
  if (b.retry_after !== undefined) answer.headers["retry-after"] = String(b.retry_after);
  return sendWhole(res, answer, b);
}

function bodyOf(req) {
  return new Promise((resolve, reject) => {
    const chunks = [];
    req.on("data", (chunk) => chunks.push(chunk));
    req.on("end", () => resolve(Buffer.concat(chunks).toString("utf8")));
    req.on("error", reject);
  });
}

function parsed(raw) {
  try {
    return JSON.parse(raw);
  } catch {
    return undefined;
  }
}

function json(res, status, body) {
  const text = JSON.stringify(body);
  res.writeHead(status, { ...SIMULATED, "content-type": JSON_TYPE, "content-length": Buffer.byteLength(text) });
  res.end(text);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const stop = () => process.exit(0);
  process.on("SIGTERM", stop);
  process.on("SIGINT", stop);
  const { url } = await startSandbox({ port: Number(process.env.SANDBOX_PORT ?? 0), fixtures: process.env.SANDBOX_FIXTURES || undefined });
  console.log(JSON.stringify({ url }));
}

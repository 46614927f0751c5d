// A small client for the tests of the sandbox: raw enough to see bytes, events and hang-ups.
import { request } from "node:http";
import { startSandbox } from "./server.mjs";

const HEADERS = { authorization: "Bearer test-key", "anthropic-version": "2023-06-01", "content-type": "application/json" };

export class Client {
  static async start(options) {
    const client = new Client();
    client.sandbox = await startSandbox(options);
    client.url = client.sandbox.url;
    return client;
  }

  close() {
    return this.sandbox.close();
  }

  // Resolves {status, headers, body, chunks}; rejects with `partial` bytes if the connection breaks.
  send(method, path, body, { headers = HEADERS, hangUpAfter } = {}) {
    return new Promise((resolve, reject) => {
      const started = performance.now();
      const chunks = [];
      const all = () => Buffer.concat(chunks);
      const broke = (error) => reject(Object.assign(error, { partial: all() }));
      const req = request(this.url + path, { method, headers, agent: false }, (res) => {
        const headAt = performance.now() - started;
        res.on("data", (chunk) => {
          chunks.push(chunk);
          if (chunks.length === hangUpAfter) req.destroy();
        });
        res.on("end", () => resolve({ status: res.statusCode, headers: res.headers, body: all(), chunks, headAt, totalMs: performance.now() - started }));
        res.on("error", broke);
      });
      req.on("error", broke);
      req.end(body === undefined ? undefined : typeof body === "string" ? body : JSON.stringify(body));
    });
  }

  async json(path, body, options) {
    const answer = await this.send("POST", path, body, options);
    return { ...answer, body: JSON.parse(answer.body) };
  }

  // The events of a stream: [{event?, data}], data parsed where it is JSON.
  async events(path, body) {
    const answer = await this.send("POST", path, body);
    return { ...answer, events: parse(answer.body.toString("utf8")) };
  }

  async control(name, behaviour) {
    const answer = await this.send("PUT", `/control/${name}`, behaviour);
    return { status: answer.status, body: JSON.parse(answer.body) };
  }

  async seen(name) {
    return JSON.parse((await this.send("GET", `/control/${name}`)).body);
  }
}

export function parse(text) {
  return text.split(/\r?\n\r?\n/).filter(Boolean).map((block) => {
    const lines = block.split(/\r?\n/);
    const data = lines.find((line) => line.startsWith("data: "))?.slice(6);
    const event = lines.find((line) => line.startsWith("event: "))?.slice(7);
    return { event, data: data?.startsWith("{") ? JSON.parse(data) : data };
  });
}

export const chat = (content, more) => ({ model: "m", messages: [{ role: "user", content }], ...more });

export const WEATHER = {
  type: "object",
  properties: { city: { type: "string" }, unit: { enum: ["celsius", "fahrenheit"] }, days: { type: "integer", minimum: 1 }, note: { type: "string" } },
  required: ["city", "unit", "days"],
};

export const tool = (name = "get_weather", parameters = WEATHER) => ({ type: "function", function: { name, parameters } });

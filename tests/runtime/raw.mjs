// A provider on a bare socket: it says any bytes at any time, and ends a connection in any way.
import { once } from "node:events";
import { createServer } from "node:net";

export const wait = (ms) => new Promise((done) => setTimeout(done, ms));
export const head = (status, type, more = "") => `HTTP/1.1 ${status} OK\r\ncontent-type: ${type}\r\n${more}`;
export const STREAM = head(200, "text/event-stream", "transfer-encoding: chunked\r\n\r\n");

/** A chunk of a body whose length is not told in advance; LAST ends it. */
export const chunk = (text) => {
  const bytes = Buffer.from(text);
  return Buffer.concat([Buffer.from(`${bytes.length.toString(16)}\r\n`), bytes, Buffer.from("\r\n")]);
};
export const LAST = "0\r\n\r\n";

/** Frames of a streamed chat completion. */
export const says = (content, more = {}) => `data: ${JSON.stringify({ id: "c1", object: "chat.completion.chunk", created: 1, model: "m", choices: [{ index: 0, delta: { content }, finish_reason: null }], ...more })}\n\n`;
export const STOP = `data: ${JSON.stringify({ id: "c1", object: "chat.completion.chunk", created: 1, model: "m", choices: [{ index: 0, delta: {}, finish_reason: "stop" }] })}\n\n`;
export const USAGE = `data: ${JSON.stringify({ id: "c1", object: "chat.completion.chunk", created: 1, model: "m", choices: [], usage: { prompt_tokens: 9, completion_tokens: 4, total_tokens: 13 } })}\n\n`;
export const DONE = "data: [DONE]\n\n";

/**
 * Listens until `close()`. `plays` maps a provider's name to what it does with each connection once the request is there:
 * `async (socket, send)`, where `send(...)` writes and waits until the bytes are on their way.
 */
export async function startRaw(plays) {
  const sockets = new Set(), seen = {};
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.setNoDelay(true);
    socket.on("close", () => sockets.delete(socket)).on("error", () => {}); // a reset by the other side is none of ours
    const send = async (...all) => { for (const bytes of all) if (!socket.write(bytes)) await Promise.race([once(socket, "drain"), once(socket, "close")]); };
    let text = "";
    socket.on("data", (bytes) => {
      text += bytes.toString("latin1");
      const end = text.indexOf("\r\n\r\n");
      const length = Number(/^content-length: (\d+)/im.exec(text)?.[1] ?? 0);
      if (end < 0 || text.length < end + 4 + length) return;
      const name = /^\w+ \/([^/ ]+)/.exec(text)[1];
      text = "";
      seen[name] = (seen[name] ?? 0) + 1;
      plays[name](socket, send);
    });
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    calls: (name) => seen[name] ?? 0,
    close: () => { for (const socket of sockets) socket.destroy(); server.close(); },
  };
}

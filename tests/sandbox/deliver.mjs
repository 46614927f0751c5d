// Sends an answer, and misbehaves on the way as the control says.

const RESET_GRACE_MS = 10;

// Resolves false as soon as the client is gone.
function pause(res, ms) {
  if (gone(res)) return false;
  if (!ms) return true;
  return new Promise((resolve) => {
    const end = (alive) => {
      clearTimeout(timer);
      res.off("close", hungUp);
      resolve(alive);
    };
    const hungUp = () => end(false);
    const timer = setTimeout(end, ms, true);
    res.on("close", hungUp);
  });
}

const gone = (res) => res.destroyed || res.closed || !res.socket;

// Tears the connection down from our side; not a hang-up of the client's.
export function tearDown(res, { hard = false } = {}) {
  res.tornDown = true;
  if (!res.socket) return;
  if (hard) res.socket.resetAndDestroy();
  else res.socket.destroy();
}

// The deviation due before event `index`, if any. Returns true when the answer is over.
function deviates(res, index, b) {
  if (b.stall_after === index) return true;
  if (b.cut_after === index) {
    res.end();
    return true;
  }
  if (b.reset_after === index) {
    // What was sent must reach the client before the reset does.
    setTimeout(tearDown, RESET_GRACE_MS, res, { hard: true });
    return true;
  }
  return false;
}

async function write(res, bytes, chunkBytes) {
  if (!chunkBytes) return res.write(bytes) || drained(res);
  const all = Buffer.from(bytes);
  for (let at = 0; at < all.length; at += chunkBytes) {
    if (gone(res)) return;
    if (!res.write(all.subarray(at, at + chunkBytes))) await drained(res);
    // Its own turn of the loop, so that each piece is its own packet.
    await new Promise(setImmediate);
  }
}

function drained(res) {
  if (gone(res)) return undefined;
  return new Promise((resolve) => {
    const end = () => {
      res.off("drain", end);
      res.off("close", end);
      resolve();
    };
    res.on("drain", end);
    res.on("close", end);
  });
}

// `row` is the call's line in the provider's books.
export async function sendStream(res, { status, headers, events, frame, spoil }, b, row) {
  if (!(await pause(res, b.head_delay_ms))) return;
  res.writeHead(status, headers);
  if (b.first_token_delay_ms || b.chunk_delay_ms || b.stall_after === 0 || b.reset_after === 0) res.flushHeaders();
  const list = b.no_terminator ? events.filter((e) => !e.last) : events;
  if (row) row.planned = list.reduce((n, e) => n + (e.content ? 1 : 0), 0);
  let silent = Boolean(b.first_token_delay_ms);
  for (const [index, event] of list.entries()) {
    if (deviates(res, index, b)) return;
    if (index && b.chunk_delay_ms && !(await pause(res, b.chunk_delay_ms))) return;
    if (silent && event.content) {
      silent = false;
      if (!(await pause(res, b.first_token_delay_ms))) return;
    }
    if (gone(res)) return;
    const written = write(res, index + 1 === b.malformed_at ? spoil(event) : frame(event), b.chunk_bytes);
    if (written !== true) await written;
    if (row && event.content) row.sent++;
  }
  if (deviates(res, list.length, b)) return;
  if (row) row.finished = true;
  res.end();
}

export async function sendWhole(res, { status, headers, body }, b, row) {
  if (!(await pause(res, (b.head_delay_ms ?? 0) + (b.first_token_delay_ms ?? 0)))) return;
  let bytes = body;
  if (b.malformed_at !== undefined) bytes = broken(bytes);
  const cut = b.stall_after ?? b.cut_after ?? b.reset_after;
  if (cut !== undefined) {
    // An answer in one piece breaks off in its middle, or before its first byte at 0.
    res.writeHead(status, headers);
    res.flushHeaders();
    if (cut) await write(res, bytes.slice(0, bytes.length >> 1));
    deviates(res, cut, b);
    return;
  }
  if (row) row.finished = true;
  res.writeHead(status, b.chunk_bytes ? headers : { ...headers, "content-length": Buffer.byteLength(bytes) });
  if (b.chunk_bytes) await write(res, bytes, b.chunk_bytes);
  if (!gone(res)) res.end(b.chunk_bytes ? undefined : bytes);
}

// The same bytes with the last bracket gone: no JSON parser takes them.
export function broken(bytes) {
  if (typeof bytes === "string") {
    const at = Math.max(bytes.lastIndexOf("}"), bytes.lastIndexOf("]"));
    return at < 0 ? `${bytes}{` : `${bytes.slice(0, at)} ${bytes.slice(at + 1)}`;
  }
  const copy = Buffer.from(bytes);
  const at = Math.max(copy.lastIndexOf("}"), copy.lastIndexOf("]"));
  if (at >= 0) copy[at] = 0x20;
  return copy;
}

// The copy of a piped stream is read in bites of so many bytes, at least and at most: once per chunk would double the relay's cost.
const SIP = 2048, BITE = 32768;

// A call to a provider, and its body. Plumbing only: what to do with a status or with bytes is decided in Rust.
export class Upstream {
  #stop = new AbortController();
  #url; #body; #response; #reader;
  constructor(url, body) { this.#url = url; this.#body = body; }

  // status, content type, retry-after and the mark of a simulation, a line each.
  async head(told) {
    const method = this.#body.length ? "POST" : "GET";
    if (method === "GET") this.#body = undefined;
    const init = { method, headers: JSON.parse(told), body: this.#body, redirect: "manual", signal: this.#stop.signal };
    this.#response = await fetch(this.#url, init);
    this.#body = undefined;
    const { status, headers } = this.#response;
    const value = (name) => (headers.get(name) ?? "").replaceAll("\n", " ");
    const retryAfter = value("retry-after-ms") ? `${value("retry-after-ms")}ms` : value("retry-after");
    return [status, value("content-type"), retryAfter, value("x-megarouter-simulated")].join("\n");
  }

  // The next bytes; undefined at the end.
  async read() {
    this.#reader ??= this.#response.body?.getReader();
    const { value } = (await this.#reader?.read()) ?? {};
    return value;
  }

  // The whole body; one longer than `most` is broken off. A length tells the truth only of bytes that were not packed.
  async whole(most) {
    const { headers, body } = this.#response, length = headers.get("content-length");
    if (length !== null && Number(length) <= most && !headers.has("content-encoding")) return this.#response.bytes();
    if (!body) return new Uint8Array();
    const reader = body.getReader({ mode: "byob" });
    let ended = false;
    // Most answers are one bite: at the end it is smaller than what was asked for.
    const bite = async () => {
      if (ended) return undefined;
      const { value } = await reader.readAtLeast(BITE, new Uint8Array(BITE));
      ended = value.length < BITE;
      return value.length ? value : undefined;
    };
    const { bytes, over } = await this.#gather(reader, bite, most);
    if (over) throw new RangeError("the answer is too long");
    return bytes;
  }

  // All bytes of a stream; at the first too many the call is let go, and what came before is all.
  async #gather(reader, next, most) {
    const chunks = [];
    let taken = 0;
    for (let chunk; taken <= most && (chunk = await next()); chunks.push(chunk)) taken += chunk.length;
    const over = taken > most;
    if (over) {
      this.abort();
      reader.cancel().catch(() => {});
    }
    return { bytes: chunks.length === 1 ? chunks[0] : new Uint8Array(await new Blob(chunks).arrayBuffer()), over };
  }

  abort() { this.#stop.abort(); }

  // Bytes flow to the caller natively; a copy is collected on a second branch, behind an identity stream so that its reader
  // does not hold the first branch back. Past `most`, and when there was no bite for `stallMs`, the provider is let go. Resolves to
  // the copy; `downstream.end` says how it ended.
  async pipe(downstream, prefix, drainMs, stallMs, most) {
    this.#reader.releaseLock();
    const [flow, copy] = this.#response.body.tee();
    const tap = new IdentityTransformStream(), enough = new AbortController();
    const reader = tap.readable.getReader({ mode: "byob" });
    let bites = 0, stalled = false, watch;
    const bite = async () => {
      const { value } = await reader.readAtLeast(SIP, new Uint8Array(BITE));
      bites++;
      return value?.length ? value : undefined; // at the end an empty view
    };
    const look = (seen) => {
      stalled = bites === seen;
      if (stalled) this.abort();
      else watch = setTimeout(look, stallMs, bites);
    };
    watch = setTimeout(look, stallMs, bites);
    const kept = this.#gather(reader, bite, most);
    let lost = false, broke = false;
    const client = downstream.lend(prefix)
      .then((writable) => flow.pipeTo(writable, { preventClose: true, preventAbort: true }))
      .catch(() => { lost = true; setTimeout(() => enough.abort(), drainMs); });
    const meter = copy.pipeTo(tap.writable, { signal: enough.signal, preventAbort: true }).catch(() => {
      broke = !enough.signal.aborted;
      return tap.writable.close().catch(() => {});
    });
    const [{ bytes, over }] = await Promise.all([kept, meter]);
    clearTimeout(watch);
    if (!enough.signal.aborted && !lost) await client;
    downstream.takeBack();
    downstream.end = stalled ? "stalled" : broke || over ? "broke" : !lost ? "whole" : enough.signal.aborted ? "gone" : "drained";
    return bytes;
  }
}

// A call to a provider, and its body. Plumbing only: what to do with a status or with bytes is decided in Rust.
export class Upstream {
  #stop = new AbortController();
  #url; #headers; #body; #response; #reader;
  constructor(url, headers, body) { this.#url = url; this.#headers = headers; this.#body = body; }

  // status, content type, retry-after and the mark of a simulation, a line each.
  async head() {
    const init = { method: "POST", headers: JSON.parse(this.#headers), body: this.#body, redirect: "manual", signal: this.#stop.signal };
    this.#response = await fetch(this.#url, init);
    this.#body = undefined;
    const { status, headers } = this.#response;
    const value = (name) => (headers.get(name) ?? "").replaceAll("\n", " ");
    return [status, value("content-type"), value("retry-after"), value("x-megarouter-simulated")].join("\n");
  }

  // The next bytes; undefined at the end.
  async read() {
    this.#reader ??= this.#response.body?.getReader();
    const { value } = (await this.#reader?.read()) ?? {};
    return value;
  }

  // The whole body; one longer than `most` is broken off.
  async whole(most) {
    const length = this.#response.headers.get("content-length");
    if (length !== null && Number(length) <= most) return this.#response.bytes();
    const chunks = [];
    let taken = 0;
    for (let bytes; (bytes = await this.read()); chunks.push(bytes)) {
      taken += bytes.length;
      if (taken > most) throw new RangeError("the answer is too long");
    }
    return chunks.length === 1 ? chunks[0] : new Uint8Array(await new Blob(chunks).arrayBuffer());
  }

  abort() { this.#stop.abort(); }

  // Bytes flow to the caller natively; a copy is collected natively on a second branch, behind an identity stream so that
  // its reader does not hold the first branch back. Resolves to the copy; `downstream.end` says how it ended.
  async pipe(downstream, prefix, drainMs) {
    this.#reader.releaseLock();
    const [flow, copy] = this.#response.body.tee();
    const tap = new IdentityTransformStream(), enough = new AbortController();
    const kept = new Response(tap.readable).arrayBuffer();
    let lost = false, broke = false;
    const client = downstream.lend(prefix)
      .then((writable) => flow.pipeTo(writable, { preventClose: true, preventAbort: true }))
      .catch(() => { lost = true; setTimeout(() => enough.abort(), drainMs); });
    const meter = copy.pipeTo(tap.writable, { signal: enough.signal, preventAbort: true }).catch(() => {
      broke = !enough.signal.aborted;
      return tap.writable.close().catch(() => {});
    });
    const [bytes] = await Promise.all([kept, meter]);
    if (!enough.signal.aborted && !lost) await client;
    downstream.takeBack();
    downstream.end = broke ? "broke" : !lost ? "whole" : enough.signal.aborted ? "gone" : "drained";
    return new Uint8Array(bytes);
  }
}

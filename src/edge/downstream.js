// The caller's side of a streamed answer.
export class Downstream {
  #stream = new IdentityTransformStream();
  #writer = this.#stream.writable.getWriter();
  end = "";

  static whole(status, headers, body) { return new Response(status === 204 ? null : body, { status, headers: JSON.parse(headers) }); }
  response(status, headers) { return new Response(this.#stream.readable, { status, headers: JSON.parse(headers) }); }

  static allow({ headers }, origin, vary, exposed) {
    headers.set("access-control-allow-origin", origin);
    headers.set("access-control-expose-headers", exposed);
    if (vary) headers.append("vary", vary);
  }

  // Resolves when the caller's side has taken the bytes; rejects when it hung up.
  write(bytes) { return this.#writer.write(bytes); }
  close() { return this.#writer.close(); }

  async lend(prefix) {
    await this.#writer.write(prefix);
    this.#writer.releaseLock();
    return this.#stream.writable;
  }
  takeBack() {
    try { this.#writer.releaseLock(); } catch { /* released when it was lent */ }
    try { this.#writer = this.#stream.writable.getWriter(); } catch { /* a pipe that still holds it: writes will be refused */ }
  }
}

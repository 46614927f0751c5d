// What is asked of a request in one crossing instead of many.
export class Inbound {
  // A line each: method, URL, continent, then every header's name, in lower case, and its value. None can hold a line break.
  static head({ method, url, headers, cf }) { return [method, url, cf?.continent, ...[...headers].flat()].join("\n"); }
  // The whole body; undefined if it is longer than `most`. One that does not tell its length is counted as it comes.
  static async body(request, most) {
    if (request.headers.has("content-length") || !request.body) return request.bytes();
    const chunks = [];
    let length = 0;
    for await (const chunk of request.body) {
      length += chunk.length;
      if (length > most) return undefined;
      chunks.push(chunk);
    }
    return new Uint8Array(await new Blob(chunks).arrayBuffer());
  }
  // Resolves when the caller hangs up.
  static gone(request) { return new Promise((done) => request.signal.addEventListener("abort", () => done(), { once: true })); }
}

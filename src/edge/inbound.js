// What is asked of a request in one crossing instead of many.
export class Inbound {
  // A line each: method, URL, then every header's name, in lower case, and its value. None of them can hold a line break.
  static head({ method, url, headers }) { return [method, url, ...[...headers].flat()].join("\n"); }
  static body(request) { return request.bytes(); }
  // Resolves when the caller hangs up.
  static gone(request) { return new Promise((done) => request.signal.addEventListener("abort", () => done(), { once: true })); }
}

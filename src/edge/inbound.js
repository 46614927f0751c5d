// What is asked of a request in one crossing instead of many.
export class Inbound {
  // [[name, value], …], names in lower case.
  static headers(request) { return JSON.stringify([...request.headers]); }
  // Resolves when the caller hangs up.
  static gone(request) { return new Promise((done) => request.signal.addEventListener("abort", () => done(), { once: true })); }
}

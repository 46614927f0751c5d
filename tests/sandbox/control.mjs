// How each provider is told to misbehave, and what was seen of the calls it got.
const count = (low) => ({ test: (v) => Number.isSafeInteger(v) && v >= low, wants: `an integer of at least ${low}` });
const flag = { test: (v) => typeof v === "boolean", wants: "true or false" };
const status = { test: (v) => Number.isSafeInteger(v) && v >= 200 && v <= 599, wants: "a status from 200 to 599" };
const delay = count(0);

const MEMBERS = {
  down: flag,
  status,
  body: { test: () => true },
  retry_after: { test: (v) => typeof v === "string" || (typeof v === "number" && v >= 0), wants: "seconds or an HTTP date" },
  head_delay_ms: delay,
  first_token_delay_ms: delay,
  chunk_delay_ms: delay,
  stall_after: count(0),
  cut_after: count(0),
  reset_after: count(0),
  malformed_at: count(1),
  no_terminator: flag,
  reject_prefill: flag,
  chunk_bytes: count(1),
  usage: { test: (v) => v === null || (typeof v === "object" && !Array.isArray(v)), wants: "an object, or null to leave it out" },
  times: count(1),
};

const NONE = Object.freeze({});
const CREDENTIALS = new Set(["authorization", "x-api-key", "api-key", "x-goog-api-key"]);

// Returns what is wrong with a behaviour, or null.
export function fault(behaviour) {
  if (typeof behaviour !== "object" || behaviour === null || Array.isArray(behaviour)) return "the behaviour must be a JSON object";
  for (const [name, value] of Object.entries(behaviour)) {
    if (!Object.hasOwn(MEMBERS, name)) return `unknown member '${name}'; known are ${Object.keys(MEMBERS).join(", ")}`;
    if (!MEMBERS[name].test(value)) return `'${name}' must be ${MEMBERS[name].wants}`;
  }
  return null;
}

class Provider {
  behaviour = NONE;
  left = Infinity;
  calls = 0;
  aborted = 0;
  lastRequest = null;

  // The behaviour of the next call; a behaviour with `times` wears off.
  take() {
    this.calls++;
    const now = this.behaviour;
    if (--this.left <= 0) [this.behaviour, this.left] = [NONE, Infinity];
    return now;
  }

  set(behaviour) {
    const { times, ...rest } = behaviour;
    [this.behaviour, this.left] = [rest, times ?? Infinity];
  }

  saw(method, path, headers, body) {
    this.lastRequest = { method, path, headers, body };
  }

  view() {
    const behaviour = this.left === Infinity ? this.behaviour : { ...this.behaviour, times: this.left };
    const seen = this.lastRequest;
    return {
      calls: this.calls,
      aborted: this.aborted,
      last_request: seen && { ...seen, headers: shortened(seen.headers) },
      behaviour,
    };
  }
}

// Enough of a credential to tell which one was sent, not enough to leak it into a log.
function shortened(headers) {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) =>
    [name, CREDENTIALS.has(name) ? String(value).slice(0, 12) : value]));
}

export class Control {
  #providers = new Map();

  of(name) {
    let provider = this.#providers.get(name);
    if (!provider) this.#providers.set(name, (provider = new Provider()));
    return provider;
  }

  reset(name) {
    this.#providers.delete(name);
  }

  view() {
    return { providers: Object.fromEntries([...this.#providers].map(([name, provider]) => [name, provider.view()])) };
  }
}

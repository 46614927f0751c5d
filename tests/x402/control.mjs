// How the facilitator is told to misbehave, and what it saw of the calls it got.
const flag = { test: (v) => typeof v === "boolean", wants: "true or false" };
const one = (...words) => ({ test: (v) => words.includes(v), wants: `one of ${words.map((word) => `"${word}"`).join(", ")}` });

const MEMBERS = {
  down: flag,
  delay_ms: { test: (v) => Number.isSafeInteger(v) && v >= 0, wants: "a number of milliseconds" },
  lie: one("valid", "settled"),
  dialect: one("rs"),
  settle_then_timeout: flag,
  settle_then_down: flag,
  pending: flag,
  on: one("supported", "verify", "settle"),
  times: { test: (v) => Number.isSafeInteger(v) && v >= 1, wants: "an integer of at least 1" },
};
// The operations that a member says something about.
const SAYS = {
  down: ["supported", "verify", "settle"],
  delay_ms: ["supported", "verify", "settle"],
  dialect: ["verify", "settle"],
  settle_then_timeout: ["settle"],
  settle_then_down: ["settle"],
  pending: ["settle"],
};
const LIES_ABOUT = { valid: "verify", settled: "settle" };

const NONE = Object.freeze({});
const LOG = 1000;

/** What is wrong with a behaviour, or undefined. */
export function fault(behaviour) {
  if (typeof behaviour !== "object" || behaviour === null || Array.isArray(behaviour)) return "the behaviour must be a JSON object";
  for (const [name, value] of Object.entries(behaviour)) {
    if (!Object.hasOwn(MEMBERS, name)) return `unknown member '${name}'; known are ${Object.keys(MEMBERS).join(", ")}`;
    if (!MEMBERS[name].test(value)) return `'${name}' must be ${MEMBERS[name].wants}`;
  }
}

export class Control {
  behaviour = NONE;
  left = Infinity;
  counts = { supported: 0, verify: 0, settle: 0 };
  log = [];
  // Settlements whose receipt the facilitator says it has not seen; asked again, it has.
  unseen = new Map();

  set({ times, ...behaviour }) {
    [this.behaviour, this.left] = [behaviour, times ?? Infinity];
  }

  /** The behaviour goes, and what was counted. */
  reset() {
    this.set(NONE);
    this.counts = { supported: 0, verify: 0, settle: 0 };
    this.log = [];
    this.unseen.clear();
  }

  /** The behaviour of this call; one with `times` wears off by the calls that it was for. */
  take(operation) {
    this.counts[operation]++;
    const { on, ...behaviour } = this.behaviour;
    const mine = Object.entries(behaviour).filter(([name, value]) => (on ?? operation) === operation
      && (name === "lie" ? LIES_ABOUT[value] === operation : SAYS[name].includes(operation)));
    if (mine.length && --this.left <= 0) this.set(NONE);
    return Object.fromEntries(mine);
  }

  saw(operation, request, behaviour) {
    const { paymentPayload, paymentRequirements } = request ?? {};
    const entry = {
      operation,
      x402Version: request?.x402Version,
      scheme: paymentRequirements?.scheme,
      type: paymentPayload?.payload?.type,
      amount: paymentRequirements?.amount ?? paymentRequirements?.maxAmountRequired,
      behaviour,
      request,
    };
    this.log.push(entry);
    if (this.log.length > LOG) this.log.shift();
    return entry;
  }

  view() {
    return { ...this.counts, behaviour: this.behaviour, log: this.log };
  }
}

// Plausible values for a JSON schema: what a model would put into a tool call or a structured answer.

const CITIES = ["Paris", "London", "Tokyo", "Berlin", "Madrid"];
const BY_NAME = [
  [/city|location|place|town/i, (hints) => hints.place ?? CITIES[hints.turn % CITIES.length]],
  [/country/i, () => "France"],
  [/e-?mail/i, () => "ada@example.com"],
  [/url|uri|link/i, () => "https://example.com/"],
  [/path|file/i, () => "README.md"],
  [/query|question|search|prompt/i, (hints) => hints.quoted ?? hints.topic],
  [/command|cmd/i, () => "echo simulated"],
  [/date/i, () => "2026-01-15"],
  [/unit/i, () => "celsius"],
  [/name/i, (hints) => hints.named ?? "Ada Lovelace"],
];
const BY_FORMAT = {
  date: "2026-01-15",
  "date-time": "2026-01-15T12:00:00Z",
  time: "12:00:00Z",
  duration: "PT1H",
  email: "ada@example.com",
  uri: "https://example.com/",
  hostname: "example.com",
  ipv4: "192.0.2.1",
  ipv6: "2001:db8::1",
  uuid: "00000000-0000-4000-8000-000000000000",
};

// Clues in the prompt: its numbers, a quoted phrase, a name, a place ("weather in Oslo and Rome"). `turn` tells parallel calls apart.
export function hintsFrom(text, turn = 0) {
  const places = [...text.matchAll(/\b(?:in|for|of|and|at)\s+(?:both\s+)?(\p{Lu}[\p{L}-]+(?:\s\p{Lu}[\p{L}-]+)?)/gu)].map((m) => m[1]);
  return {
    turn,
    place: places[turn] ?? (turn ? undefined : places[0]),
    numbers: (text.match(/-?\d+(?:\.\d+)?/g) ?? []).map(Number).filter((n) => Math.abs(n) < 1e9),
    quoted: text.match(/"([^"]{1,200})"/)?.[1],
    named: text.match(/\b(?:named|called) (?:'([^']{1,200})'|"([^"]{1,200})")/)?.slice(1).find(Boolean),
    topic: text.replace(/\s+/g, " ").trim().slice(0, 60) || "simulated",
  };
}

// `every` fills optional properties too; a tool call fills the required ones only.
export function sample(schema, hints, { every = false } = {}) {
  return value(schema, { root: schema, hints: { ...hints, next: 0 }, every }, "value", 0);
}

function value(schema, ctx, name, depth) {
  if (schema === true || schema === undefined || schema === null) return "simulated";
  if (depth > 12) return null;
  if (schema.$ref) return value(resolve(schema.$ref, ctx.root), ctx, name, depth + 1);
  if ("const" in schema) return schema.const;
  if (Array.isArray(schema.enum) && schema.enum.length) return schema.enum[0];
  if ("default" in schema && schema.default !== null) return schema.default;
  if (Array.isArray(schema.allOf)) return value(merged(schema, ctx), ctx, name, depth + 1);
  const union = schema.anyOf ?? schema.oneOf;
  if (Array.isArray(union) && union.length) {
    const chosen = union.find((s) => s?.type !== "null") ?? union[0];
    return value({ ...without(schema, "anyOf", "oneOf"), ...chosen }, ctx, name, depth + 1);
  }
  return byType(typeOf(schema), schema, ctx, name, depth);
}

// Gemini writes types in capitals; a list of types means any of them.
function typeOf(schema) {
  const type = Array.isArray(schema.type) ? schema.type.find((t) => t !== "null") ?? "null" : schema.type;
  if (type) return String(type).toLowerCase();
  if (schema.properties) return "object";
  return schema.items ? "array" : "string";
}

function byType(type, schema, ctx, name, depth) {
  switch (type) {
    case "object":
      return object(schema, ctx, depth);
    case "array":
      return Array.from({ length: Math.min(Math.max(1, schema.minItems ?? 1), schema.maxItems ?? 64, 64) }, (_, i) =>
        value(schema.prefixItems?.[i] ?? schema.items, ctx, name, depth + 1));
    case "integer":
      return Math.round(number(schema, ctx, 1));
    case "number":
      return number(schema, ctx, 1.5);
    case "boolean":
      return true;
    case "null":
      return null;
    default:
      return text(schema, ctx, name);
  }
}

function object(schema, ctx, depth) {
  const properties = schema.properties ?? {};
  const required = Array.isArray(schema.required) ? schema.required : [];
  const names = ctx.every && depth < 5 ? [...new Set([...required, ...Object.keys(properties)])] : required;
  return Object.fromEntries(names.map((name) => [name, value(properties[name], ctx, name, depth + 1)]));
}

function number(schema, ctx, otherwise) {
  let n = ctx.hints.numbers[ctx.hints.next++] ?? otherwise;
  const step = schema.multipleOf;
  const low = schema.minimum ?? (typeof schema.exclusiveMinimum === "number" ? schema.exclusiveMinimum + (step ?? 1) : -Infinity);
  const high = schema.maximum ?? (typeof schema.exclusiveMaximum === "number" ? schema.exclusiveMaximum - (step ?? 1) : Infinity);
  n = Math.min(Math.max(n, low), high);
  return step ? Math.ceil(n / step) * step : n;
}

function text(schema, ctx, name) {
  const named = BY_NAME.find(([pattern]) => pattern.test(name));
  let out = BY_FORMAT[schema.format] ?? named?.[1](ctx.hints) ?? `simulated ${name}`;
  if (schema.minLength > out.length) out = out.padEnd(schema.minLength, "x");
  return schema.maxLength < out.length ? out.slice(0, schema.maxLength) : out;
}

function resolve(ref, root) {
  if (typeof ref !== "string" || !ref.startsWith("#")) return {};
  const steps = ref.slice(1).split("/").filter(Boolean);
  return steps.reduce((at, step) => at?.[step.replaceAll("~1", "/").replaceAll("~0", "~")], root) ?? {};
}

function merged(schema, ctx) {
  const parts = schema.allOf.map((part) => (part?.$ref ? resolve(part.$ref, ctx.root) : part));
  return [without(schema, "allOf"), ...parts].reduce((all, part) => ({
    ...all,
    ...part,
    properties: { ...all.properties, ...part.properties },
    required: [...(all.required ?? []), ...(part.required ?? [])],
  }), {});
}

function without(schema, ...keys) {
  return Object.fromEntries(Object.entries(schema).filter(([key]) => !keys.includes(key)));
}

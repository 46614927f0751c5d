// Deterministic text: hashes, number words, and how many tokens a text is said to have.

const SMALL = ("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen " +
  "seventeen eighteen nineteen").split(" ");
const TENS = "zero ten twenty thirty forty fifty sixty seventy eighty ninety".split(" ");

// One word per number (hyphens inside), so that N numbers are N stream events.
export function numberWord(n) {
  if (n < 20) return SMALL[n];
  if (n < 100) return TENS[Math.floor(n / 10)] + (n % 10 ? `-${SMALL[n % 10]}` : "");
  const [unit, name] = n < 1000 ? [100, "hundred"] : [1000, "thousand"];
  const rest = n % unit;
  return `${numberWord(Math.floor(n / unit))}-${name}` + (rest ? `-${numberWord(rest)}` : "");
}

// FNV-1a, 32 bits: stable across runs and machines, and needs no library.
export function hash(text, seed = 0x811c9dc5) {
  let h = seed;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  return h >>> 0;
}

export const hex = (n) => n.toString(16).padStart(8, "0");

// What a stream sends one event for: a word with the space before it (a very long word in parts).
export const pieces = (text) => text.match(/\s*\S{1,40}|\s+$/gu) ?? [];

// A piece is about 1.3 tokens; no text is none.
export const tokensOf = (count) => Math.round(count * 1.3);
export const piecesWithin = (tokens) => Math.max(0, Math.floor((tokens + 0.49) / 1.3));

// Input is about four bytes a token.
export const inputTokens = (bytes, messages) => Math.max(1, Math.ceil(bytes / 4) + 4 * messages + 3);

export function excerpt(text, length = 80) {
  const flat = text.replace(/\s+/g, " ").trim();
  return flat.length > length ? `${Array.from(flat).slice(0, length).join("")}…` : flat;
}

const REMARKS = [
  "The short version is that it depends on what you want to keep and what you can give up.",
  "Start with the smallest step that can be checked, then widen it.",
  "Most of the effort goes into the cases nobody writes down, so write those down first.",
  "There are two sensible ways, and the cheaper one is usually good enough.",
  "A careful reader would ask for a number here, and the number is easy to measure.",
  "Keep the common path plain and let the rare path be slow.",
  "It works best when each part has one reason to exist.",
  "If the first result looks too good, look at the input again.",
  "The trade-off is between time now and time later.",
  "In practice the simple answer holds in nine cases out of ten.",
];

export function remarks(seed, count) {
  const chosen = [];
  for (let i = 0; i < count; i++) chosen.push(REMARKS[(seed + i * 3) % REMARKS.length]);
  return chosen.join(" ");
}

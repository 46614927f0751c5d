// Medians, quartiles, tables.

/** The value below which that share of the values lies, between neighbours in proportion. */
export function quantile(values, share) {
  const sorted = values.filter(Number.isFinite).sort((a, b) => a - b);
  if (sorted.length === 0) return NaN;
  const place = (sorted.length - 1) * share;
  const [low, high] = [sorted[Math.floor(place)], sorted[Math.ceil(place)]];
  return low + (high - low) * (place - Math.floor(place));
}

export const median = (values) => quantile(values, 0.5);

/** A figure of each round over the same round's figure of the base: what the machine does to both cancels out. */
export function ratio(values, base) {
  const each = values.map((value, round) => value / base[round]);
  return { median: median(each), low: quantile(each, 0.25), high: quantile(each, 0.75) };
}

export const number = (value, digits) => (Number.isFinite(value) ? value.toFixed(digits) : "-");

export const spread = ({ median, low, high }) => `${number(median, 2)} [${number(low, 2)}-${number(high, 2)}]`;

/** The first column to the left, the others to the right. */
export function table(head, rows) {
  const all = [head, ...rows];
  const widths = head.map((_, column) => Math.max(...all.map((row) => String(row[column]).length)));
  const cell = (text, column) => (column ? String(text).padStart(widths[column]) : String(text).padEnd(widths[column]));
  return all.map((row) => `  ${row.map(cell).join("   ").trimEnd()}`).join("\n");
}

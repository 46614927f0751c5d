// `make bench`: figures of this build beside the platform's floors. README.md says what each means.
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, relative, resolve } from "node:path";
import { median, number, quantile, ratio, spread, table } from "./figures.mjs";
import { platform, targets } from "./gateways.mjs";
import { busy, client, description, provider } from "./machine.mjs";
import { payments } from "./payments.mjs";
import { pure } from "./pure.mjs";
import { rows } from "./rows.mjs";
import { CODE_BYTES_GOAL, CODE_BYTES_MAX, UPLOAD_BYTES_MAX, weigh } from "../weigh.mjs";

const folder = import.meta.dirname;
const root = resolve(folder, "../..");
const out = join(folder, "out");
const bin = resolve(process.env.BENCH_BIN);
const only = process.env.ONLY?.split(/\s+/).filter(Boolean);
const wants = (part) => !only || only.includes(part);
const ROUNDS = Number(process.env.ROUNDS || 9);
/** The control must come out at 1, give or take. */
const CONTROL = [0.95, 1.05];

/** The share of the machine that other programs may use. */
const BUSY = 0.05;

const report = { date: new Date().toISOString(), machine: description, rounds: ROUNDS, goals: [] };
let tooHeavy = false;

// ---- the parts ---------------------------------------------------------------------------------------------------

function host() {
  heading("The pure half, native, one thread");
  const { cases: rows, estimate } = JSON.parse(execFileSync(join(bin, "pure"), { encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] }));
  console.log(table(["", "median ns", "[quartiles]", "allocations", "bytes"], rows.map((row) => [
    row.name, Math.round(row.ns), `[${Math.round(row.low)}-${Math.round(row.high)}]`, number(row.allocations, 1), Math.round(row.bytes),
  ])));
  console.log(`\nToken estimate, off o200k_base on ${estimate.samples} samples: mean ${estimate.mean.toFixed(1)} %, ` +
    `median ${estimate.median.toFixed(1)} %, p95 ${estimate.p95.toFixed(1)} %`);
  report.host = rows;
  report.estimate = estimate;
  const us = (...names) => names.reduce((sum, name) => sum + rows.find((row) => row.name === name).ns, 0) / 1000;
  goal("16 kB request decoded and encoded, native", us("decode a 16 kB request", "encode it for Anthropic"), 100, " us");
  goal("a chunk pumped verbatim, native", us("a chunk, pumped verbatim"), 5, " us");
  goal("a chunk translated, native", us("a chunk, translated from Anthropic"), 15, " us");
}

/** What callers see of two providers that fail in bursts; simulated, in virtual time. */
function availability() {
  heading("Availability seen by callers of two providers, simulated");
  const rows = readFileSync(process.env.BENCH_AVAILABILITY, "utf8").trim().split("\n").map((line) => JSON.parse(line));
  const percent = (share, digits) => `${(share * 100).toFixed(digits)} %`;
  console.log(table(["each", "of its downtime shared", "seen"], rows.map(({ each, shared, seen }) => [percent(each, 0), percent(shared, 0), percent(seen, 3)])));
  report.availability = rows;
  goal("not answered, two providers at 99 % that share nothing", (1 - rows[0].seen) * 100, 0.05, " %");
}

async function wasm(runtime) {
  heading("The pure half, in workerd");
  const rows = await pure(folder, resolve(process.env.BENCH_WASM), runtime, ROUNDS);
  const natively = (name) => report.host?.find((row) => row.name === name)?.ns;
  console.log(table(["", "median ns", "[quartiles]", "of native"], rows.map(({ name, ns, low, high }) => [
    name, Math.round(ns), `[${Math.round(low)}-${Math.round(high)}]`, number(ns / natively(name), 1),
  ])));
  report.wasm = rows;
}

function size(upload) {
  heading("The upload, gzip -9");
  const weight = weigh(root, upload);
  const kb = (bytes) => `${(bytes / 1000).toFixed(1)} kB`;
  console.log(table(["", "as it is", "gzipped"], [
    ...weight.modules.map(({ name, raw, gzip }) => [name, kb(raw), kb(gzip)]),
    ["of it bundled data", "", kb(weight.data)], ["of it code", "", kb(weight.code)], ["whole", "", kb(weight.upload)],
  ]));
  report.size = weight;
  const within = (what, bytes, aim, max) => {
    goal(what, bytes / 1000, aim / 1000, " kB");
    tooHeavy ||= bytes > max;
  };
  within("code, gzipped", weight.code, CODE_BYTES_GOAL, CODE_BYTES_MAX);
  within("whole upload, gzipped", weight.upload, UPLOAD_BYTES_MAX, UPLOAD_BYTES_MAX);
}

/** CPU per whole answer, as fast as they come. */
async function saturated(title, options, all, names) {
  const rounds = await measure(title, "closed", options, all, names);
  const cpu = (name) => rounds[name].map((figures) => figures.cpu_ms_per_request);
  report[title] = show(["", "CPU ms", "of js-raw", "of js-dorpc", "answers/s"], names, (name) => {
    const ratios = { raw: ratio(cpu(name), cpu("js-raw")), money: ratio(cpu(name), cpu("js-dorpc")) };
    return {
      cpu_ms: median(cpu(name)), ...ratios,
      cells: [number(median(cpu(name)), 3), spread(ratios.raw), spread(ratios.money),
        number(median(rounds[name].map((figures) => figures.requests_per_s)), 0)],
    };
  });
  control(ratio(cpu("js-raw again"), cpu("js-raw")));
  return report[title];
}

/** What a gateway adds to an answer's time, over that of `base`, when it is far from busy. */
async function added(title, mode, options, field, all, names, base = "direct") {
  const rounds = await measure(title, mode, options, all, names);
  const pooled = (name) => rounds[name].flatMap((figures) => figures[field]);
  report[title] = show(["", "p50 ms", "p99 ms", "added p50", "added p99"], names, (name) => {
    const [p50, p99] = [0.5, 0.99].map((share) => quantile(pooled(name), share));
    const [added_p50, added_p99] = [p50 - quantile(pooled(base), 0.5), p99 - quantile(pooled(base), 0.99)];
    return { p50, p99, added_p50, added_p99, cells: [p50, p99, added_p50, added_p99].map((ms) => number(ms, 2)) };
  });
  return report[title];
}

/** CPU per streamed chunk, and whether chunks still come one by one. */
async function streamed(title, options, all, names) {
  const rounds = await measure(title, "stream", options, all, names);
  const cpu = (name) => rounds[name].map((figures) => figures.cpu_us_per_chunk);
  const middle = (name, field) => median(rounds[name].map((figures) => figures[field]));
  report[title] = show(["", "CPU us/chunk", "of js-raw", "reads/chunk", "transit p50 us"], names, (name) => {
    const figures = { cpu_us: median(cpu(name)), raw: ratio(cpu(name), cpu("js-raw")), reads: middle(name, "reads_per_chunk") };
    return {
      ...figures,
      cells: [number(figures.cpu_us, 1), spread(figures.raw), number(figures.reads, 2), number(middle(name, "transit_p50_us"), 0)],
    };
  });
  control(ratio(cpu("js-raw again"), cpu("js-raw")));
  return report[title];
}

async function starts(all) {
  const names = ["floor start", "product start"];
  const rounds = await measure("Process start to first answer", "start", {}, all, names);
  const ms = (name) => rounds[name].map((figures) => figures.first_answer_ms);
  report.start = show(["", "ms", "of the floor's"], names, (name) => {
    const of = ratio(ms(name), ms("floor start"));
    return { ms: median(ms(name)), of, cells: [number(median(ms(name)), 0), spread(of)] };
  });
  goal("start to first answer, of the floor's", report.start["product start"].of.median, 2.5);
}

async function load(all) {
  const whole = ["js-raw", "js-raw again", "js-dorpc", "product"];
  const keyed = await saturated("Keyed call with hold and post, 32 at a time", { connections: 32, seconds: 0.6 }, all, whole);
  goal("keyed call, CPU of js-dorpc", keyed.product.money.median, 1.5);

  await added("Latency at 100 calls a second", "open", { "per-second": 100, seconds: 1 }, "latency_ms", all,
    ["direct", "js-raw", "js-dorpc", "product"]);
  const first = await added("Time to first chunk, one stream at a time, 5 ms upstream", "stream",
    { streams: 1, repeat: 15, mock: "t=5,n=20" }, "first_chunk_ms", all, ["direct", "js-raw", "js-dorpc", "native", "pumped"]);
  goal("added time to first chunk over js-raw's, ms", first.native.added_p50 - first["js-raw"].added_p50, 1.2);

  const streams = ["js-raw", "js-raw again", "js-teepipe", "native", "pumped"];
  const burst = await streamed("Streams in a burst, 8 at a time", { streams: 8, repeat: 2, mock: "n=2000,g=0" }, all, streams);
  goal("native relay in a burst, CPU per chunk of js-raw", burst.native.raw.median, 1.3);
  const paced = await streamed("Streams at a chunk per 2 ms, 8 at a time", { streams: 8, mock: "n=300,g=2" }, all, streams);
  goal("native relay paced, CPU per chunk of js-raw", paced.native.raw.median, 1.5);
  goal("pumped relay paced, CPU per chunk of js-raw", paced.pumped.raw.median, 4);

  const big = await saturated("A prompt of 200 kB, 8 at a time", { connections: 8, seconds: 0.6, prompt: 200_000 }, all, whole);
  goal("200 kB prompt, CPU of js-raw", big.product.raw.median, 1.5);
}

/** What one account can do, what its turns take, and what a call makes it write. */
async function account(all) {
  const levels = [1, 4, 16, 64, 256].map((connections) => [`${connections} at a time`, { ...all.account, connections }]);
  const without = { ...all.remembered, connections: 64 };
  const ladder = Object.fromEntries([...levels, ["64, without the account's turns", without]]);
  const rounds = await measure("One account, as fast as answers come", "closed", { seconds: 0.5 }, ladder, Object.keys(ladder));
  const middle = (name, field) => median(rounds[name].map((figures) => figures[field]));
  report.account = show(["", "calls/s", "CPU ms"], Object.keys(ladder), (name) => {
    const figures = { per_s: middle(name, "requests_per_s"), cpu_ms: middle(name, "cpu_ms_per_request") };
    return { ...figures, cells: [number(figures.per_s, 0), number(figures.cpu_ms, 3)] };
  });
  const cpu = (name) => rounds[name].map((figures) => figures.cpu_ms_per_request);
  const turns = median(cpu("64 at a time").map((ms, round) => ms - cpu("64, without the account's turns")[round]));
  console.log(`\n  The account's two turns take ${number(turns, 3)} ms of a call: a core of its own would let it do ${number(1000 / turns, 0)} calls/s.`);
  report.account_turns_ms = turns;

  await added("Latency of the hold turn, at 100 calls a second", "open", { "per-second": 100, seconds: 1 }, "latency_ms", all,
    ["remembered", "account"], "remembered");

  heading("Rows a call writes, 200 at once");
  const { object, alarms, journal } = await rows(200);
  console.log(table(["", "rows"], [["account", number(object, 3)], ["account, alarms set", number(alarms, 3)], ["journal", number(journal, 3)]]));
  report.rows = { object, alarms, journal };
}

/** What a 402 costs, and what it costs to look at a signature. */
async function prices(all) {
  heading("Calls that are to be paid for, eight at a time");
  const rounds = await payments({ base: new URL(all.product.url).origin, pid: all.product.pid }, ROUNDS);
  const middle = (name, field) => median(rounds[name].map((figures) => figures[field]));
  report.payments = show(["", "answers/s", "CPU us"], Object.keys(rounds), (name) => {
    const figures = { per_s: middle(name, "per_s"), cpu_us: middle(name, "cpu_us") };
    return { ...figures, cells: [number(figures.per_s, 0), number(figures.cpu_us, 0)] };
  });
  const [price, foreign] = ["the price of a named model", "a payment that somebody else has signed"].map((name) => rounds[name]);
  const more = median(foreign.map(({ cpu_us: us }, round) => us - price[round].cpu_us));
  console.log(`\n  To hold a payment against its offer and to recover its signer takes ${number(more, 0)} us more.`);
  report.payment_verified_us = more;
}

// ---- rounds, tables, goals ---------------------------------------------------------------------------------------

/** Every target once in each round, in rotated order: what changes on the machine meets all of them. */
async function measure(title, mode, options, all, names) {
  heading(title);
  const rounds = Object.fromEntries(names.map((name) => [name, []]));
  const failed = new Set();
  for (let round = 0; round < ROUNDS; round++) {
    for (let place = 0; place < names.length; place++) {
      const name = names[(place + round) % names.length];
      const { command, ...target } = all[name];
      const given = Object.fromEntries(Object.entries({ ...target, ...options }).filter(([, value]) => value !== undefined));
      const figures = await client(bin, mode, given, command);
      rounds[name].push(figures);
      if (figures.errors && !failed.has(name)) console.log(`  !! ${name}: ${figures.errors} failed, the first with: ${figures.first_error}`);
      if (figures.errors) failed.add(name);
    }
  }
  if (failed.size) (report.failed ??= []).push({ title, targets: [...failed] });
  return rounds;
}

function heading(title) {
  console.log(`\n${title}`);
}

function show(head, names, figuresOf) {
  const figures = Object.fromEntries(names.map((name) => [name, figuresOf(name)]));
  console.log(table(head, names.map((name) => [name, ...figures[name].cells])));
  for (const row of Object.values(figures)) delete row.cells;
  return figures;
}

function control({ median }) {
  if (median >= CONTROL[0] && median <= CONTROL[1]) return;
  console.log(`  !! TOO NOISY: js-raw against itself came out at ${number(median, 2)}. Do not use this table; quieten the machine and run again.`);
  (report.noisy ??= []).push(median);
}

function goal(what, value, limit, unit = "") {
  report.goals.push({ what, value, limit, unit, met: value <= limit });
}

function goals() {
  if (report.goals.length === 0) return;
  heading("Goals");
  console.log(table(["", "here", "at most", ""], report.goals.map(({ what, value, limit, unit, met }) => [
    what, number(value, 2) + unit, limit + unit, met ? "met" : "NOT MET",
  ])));
  if (report.noisy) console.log("  !! At least one table above was too noisy to be used.");
  if (report.failed) console.log("  !! Some calls failed; see above.");
}

async function main() {
  mkdirSync(out, { recursive: true });
  const upload = process.env.BUNDLE ? resolve(process.env.BUNDLE) : join(out, "upload");
  const others = await busy();
  if (others > BUSY) console.log(`  !! Other programs use ${number(others * 100, 0)} % of this machine: expect noise.`);
  if (wants("host")) host();
  if (wants("availability")) availability();
  const runtime = await platform(root);
  report.workerd = runtime.version;
  if (wants("wasm")) await wasm(runtime);
  if (!process.env.BUNDLE && ["size", "load", "start", "account", "payments"].some(wants)) {
    execFileSync(join(root, "tools/deploy.sh"), ["--bundle", upload], { stdio: "pipe" });
  }
  if (wants("size")) size(upload);
  if (["load", "start", "account", "payments"].some(wants)) {
    console.log(`\nworkerd ${runtime.version}; ${description.pinned}; object storage in ${description.storage}`);
    const all = await targets(folder, upload, runtime, await provider(bin));
    if (wants("load")) await load(all);
    if (wants("account")) await account(all);
    if (wants("payments")) await prices(all);
    if (wants("start")) await starts(all);
  }
  goals();
  const file = join(out, `${report.date.replaceAll(/[:.]/g, "-")}.json`);
  writeFileSync(file, `${JSON.stringify(report, null, 1)}\n`);
  console.log(`\nWritten to ${relative(root, file)}`);
  process.exit(tooHeavy || report.failed ? 1 : 0);
}

main().catch((error) => {
  console.error(`\n${error.message}`);
  process.exit(1);
});

// Processes and where they run: the gateways on one core, provider and client on another.
import { spawn, spawnSync } from "node:child_process";
import { accessSync, constants, cpSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer, connect } from "node:net";
import { cpus, tmpdir } from "node:os";
import { dirname, join } from "node:path";

/** The cores this process may use, in order: "0-1,4" is 0, 1 and 4. */
function cores() {
  const list = /^Cpus_allowed_list:\s*(\S+)/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1] ?? "0";
  return list.split(",").flatMap((range) => {
    const [first, last = first] = range.split("-").map(Number);
    return Array.from({ length: last - first + 1 }, (_, place) => first + place);
  });
}

const [ours, theirs] = cores();
export const pinned = theirs !== undefined && spawnSync("taskset", ["--version"]).status === 0;
const pin = (core, command) => (pinned ? ["taskset", "-c", String(core), ...command] : command);

/** Object storage on a RAM disk where there is one: on a real disk its commits, not our CPU, would be measured. */
function storageRoot() {
  try {
    accessSync("/dev/shm", constants.W_OK);
    return "/dev/shm";
  } catch {
    return tmpdir();
  }
}
export const storage = mkdtempSync(join(storageRoot(), "bench-"));

export const description = {
  cpu: cpus()[0]?.model ?? "unknown", cores: cores().length, storage: storageRoot(),
  pinned: pinned ? `gateways on core ${theirs}, provider and client on core ${ours}` : "nothing pinned",
};

/** The share of all cores' time that was used during a second in which we do nothing. */
export async function busy() {
  const times = () => cpus().map(({ times }) => times).reduce(({ idle, all }, core) => ({
    idle: idle + core.idle, all: all + Object.values(core).reduce((sum, ms) => sum + ms),
  }), { idle: 0, all: 0 });
  const before = times();
  await new Promise((done) => setTimeout(done, 1000));
  const after = times();
  return 1 - (after.idle - before.idle) / (after.all - before.all);
}

/** The CPU time of all threads of a process, in nanoseconds; exact for those that sleep. */
export const cpu = (pid) => readdirSync(`/proc/${pid}/task`)
  .reduce((sum, thread) => sum + Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, "utf8").split(" ")[0]), 0);

const running = new Set();

function start(command, output) {
  const child = spawn(command[0], command.slice(1), { stdio: ["ignore", output, "pipe"] });
  running.add(child);
  child.log = "";
  child.stderr.setEncoding("utf8").on("data", (text) => { child.log = (child.log + text).slice(-4000); });
  child.ended = new Promise((done) => child.once("error", done).once("close", done)).then(() => running.delete(child));
  return child;
}

export async function stop(child) {
  child.kill();
  await child.ended;
}

/** What still runs when we end ends with us. */
process.on("exit", () => {
  for (const child of running) child.kill("SIGKILL");
  rmSync(storage, { recursive: true, force: true });
});
for (const name of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(name, () => process.exit(1));

/** Runs a program of `load` beside the provider and reads the JSON it prints. */
export async function client(bin, mode, options, program = []) {
  const given = Object.entries(options).flatMap(([name, value]) => [`--${name}`, String(value)]);
  const after = program.length ? ["--", ...pin(theirs, program)] : [];
  const child = start(pin(ours, [join(bin, "client"), mode, ...given, ...after]), "pipe");
  let text = "";
  child.stdout.setEncoding("utf8").on("data", (more) => { text += more; });
  await child.ended;
  if (!text) throw new Error(`The client failed.\n${child.log}`);
  return JSON.parse(text);
}

/** The provider every gateway calls. It prints its address first. */
export async function provider(bin) {
  const child = start(pin(ours, [join(bin, "provider")]), "pipe");
  const address = await new Promise((done, fail) => {
    child.stdout.once("data", (text) => done(String(text).trim()));
    child.ended.then(() => fail(new Error(`The provider failed.\n${child.log}`)));
  });
  return { url: `http://${address}`, pid: child.pid };
}

const freePort = () => new Promise((done) => {
  const probe = createServer().listen(0, "127.0.0.1", () => {
    const { port } = probe.address();
    probe.close(() => done(port));
  });
});

const answers = (port) => new Promise((done) => {
  const socket = connect(port, "127.0.0.1", () => { socket.destroy(); done(true); }).once("error", () => done(false));
});

const text = JSON.stringify; // a JSON string is a Cap'n Proto string as well

/** The configuration of a Worker on plain workerd; see workerd's own workerd.capnp. Embedded files lie in `code`, beside it. */
function capnp({ modules, compatibilityDate, compatibilityFlags, vars, objects }, port, disk) {
  const kind = (name) => (name.endsWith(".wasm") ? "wasm" : "esModule");
  const list = (items) => `[${items.join(", ")}]`;
  return `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "main", worker = .gateway),
    (name = "internet", network = (allow = ["private", "public"])),
    (name = "objects", disk = (path = ${text(disk)}, writable = true)),
  ],
  sockets = [(name = "http", address = "127.0.0.1:${port}", http = (), service = "main")],
);
const gateway :Workerd.Worker = (
  modules = ${list(modules.map(({ name }) => `(name = ${text(name)}, ${kind(name)} = embed ${text(`code/${name}`)})`))},
  compatibilityDate = ${text(compatibilityDate)},
  compatibilityFlags = ${list(compatibilityFlags.map(text))},
  bindings = ${list([
    ...Object.entries(vars).map(([name, value]) => `(name = ${text(name)}, text = ${text(value)})`),
    ...objects.map(({ name, class_name }) => `(name = ${text(name)}, durableObjectNamespace = ${text(class_name)})`),
  ])},
  durableObjectNamespaces = ${list(objects.map(({ class_name: name }) =>
    `(className = ${text(name)}, uniqueKey = ${text(name)}, enableSql = true)`))},
  durableObjectStorage = (localDisk = "objects"),
);
`;
}

/** A Worker ready to be started. Its objects' state is in `state`; `from` is a state to begin with. */
export async function gateway(workerd, name, worker, from) {
  const port = await freePort();
  const [folder, state] = [join(storage, name), join(storage, name, "objects")];
  mkdirSync(folder, { recursive: true });
  if (from) cpSync(from, state, { recursive: true });
  else mkdirSync(state);
  for (const { name, bytes } of worker.modules) {
    const file = join(folder, "code", name);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, bytes);
  }
  const config = join(folder, "config.capnp");
  writeFileSync(config, capnp(worker, port, state));
  return { url: `http://127.0.0.1:${port}`, port, state, command: [workerd, "serve", "--experimental", config] };
}

/** Starts it, and waits until it listens. */
export async function serve(gateway) {
  const child = start(pin(theirs, gateway.command), "ignore");
  let over = false;
  child.ended.then(() => { over = true; });
  for (const patience = Date.now() + 20_000; Date.now() < patience && !over;) {
    if (await answers(gateway.port)) return child;
    await new Promise((done) => setTimeout(done, 10));
  }
  throw new Error(`${gateway.command.join(" ")} does not serve.\n${child.log}`);
}

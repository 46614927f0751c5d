// A chain with the contracts of x402, money to pay with, and a facilitator; all on loopback, from packages alone. See README.md.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { chainAt, CHAIN_ID, keyOf, merchant, payer, place, USDC, USDT } from "./chain.mjs";
import { startFacilitator } from "./facilitator.mjs";

const FUNDS = 1_000_000_000n; // 1,000 of each token

/** `blockTime` in seconds; without it a block is mined at once for each transaction. Port 0 is any free one. */
export async function startRig({ chainPort = 0, facilitatorPort = 0, blockTime } = {}) {
  const node = await startChain(chainPort);
  try {
    const chain = chainAt(node.url);
    await place(chain);
    for (const token of [USDC, USDT]) {
      await chain.mint(token, payer, FUNDS);
      await chain.approvePermit2(payer, token);
    }
    if (blockTime) {
      await chain.rpc("evm_setAutomine", [false]);
      await chain.rpc("evm_setIntervalMining", [blockTime]);
    }
    const facilitator = await startFacilitator({ chain, port: facilitatorPort });
    const { rpcUrl, ...helpers } = chain;
    return {
      rpcUrl,
      facilitatorUrl: facilitator.url,
      control: facilitator.control,
      ...helpers,
      close: async () => {
        await facilitator.close();
        await node.close();
      },
    };
  } catch (error) {
    await node.close();
    throw error;
  }
}

// The chain's program ends with the one that started it, however that ends: a shell waits for its input to close, and then stops it.
const KEEPER = '"$@" </dev/null & chain=$!; read -r _; kill "$chain"; wait "$chain"';

async function startChain(port) {
  const args = ["--host", "127.0.0.1", "--port", String(port), "--chain-id", String(CHAIN_ID), "--order", "fifo"];
  const keeper = spawn("/bin/sh", ["-c", KEEPER, "chain", anvil(), ...args], { stdio: ["pipe", "pipe", "pipe"], detached: true });
  const gone = new Promise((resolve) => keeper.once("close", resolve));
  const close = async () => {
    keeper.ref();
    keeper.stdin.end();
    await gone;
  };
  let said = "";
  const url = await new Promise((resolve, reject) => {
    const hear = (chunk) => {
      said += chunk;
      const at = said.match(/Listening on (\S+)\n/);
      if (at) resolve(`http://${at[1]}`);
      else if (/error|panicked/i.test(said)) reject(new Error(`the chain did not start: ${said.trim().split("\n").at(-1)}`));
    };
    keeper.stdout.on("data", hear);
    keeper.stderr.on("data", hear);
    gone.then(() => reject(new Error(`the chain ended: ${said}`)));
  }).catch(async (error) => {
    await close();
    throw error;
  });
  for (const stream of [keeper.stdout, keeper.stderr]) stream.removeAllListeners("data").resume();
  // It ends with us anyway, so it need not keep us.
  keeper.unref();
  for (const stream of keeper.stdio) stream.unref?.();
  return { url, close };
}

// The program itself lies in the package of this machine's kind; nothing has to be run to install it.
function anvil() {
  const kind = `${process.platform}-${{ x64: "amd64", arm64: "arm64" }[process.arch]}`;
  const program = createRequire(import.meta.url).resolve(`@foundry-rs/anvil-${kind}/package.json`).replace("package.json", "bin/anvil");
  if (!existsSync(program)) throw new Error(`no anvil for ${kind}; run npm ci --ignore-scripts in ${fileURLToPath(new URL(".", import.meta.url))}`);
  return program;
}

/** What a person needs who has started it. */
const greeting = ({ rpcUrl, facilitatorUrl }) => `
The payment rig is ready: a chain of its own, with money that is worth nothing.

  chain          ${rpcUrl}   (id ${CHAIN_ID}, as Base Sepolia)
  facilitator    ${facilitatorUrl}
  USDC           ${USDC}
  USDT           ${USDT}
  merchant       ${merchant.address}   who is paid
  payer          ${payer.address}   has 1,000 USDC and 1,000 USDT
  payer's key    ${keyOf(payer)}

Run the worker beside it, if it does not run yet:
  make run

Pay for a call as an agent without an account:
  make pay
  make pay SCHEME=batch-settlement PROMPT='Hello!'
  make pay SCHEME=upto TOKEN=usdt

Make the facilitator fail, and well again:
  curl -X PUT ${facilitatorUrl}/control -d '{"down":true}'
  curl -X DELETE ${facilitatorUrl}/control

Ctrl-C ends it.`;

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const parent = process.ppid;
  const rig = await startRig({
    chainPort: Number(process.env.CHAIN_PORT ?? 8545),
    facilitatorPort: Number(process.env.FACILITATOR_PORT ?? 4022),
    blockTime: Number(process.env.BLOCK_TIME ?? 0),
  }).catch(({ message }) => {
    console.error(`The payment rig did not start: ${message}`);
    process.exit(1);
  });
  const stop = async () => {
    await rig.close();
    process.exit(0);
  };
  process.once("SIGTERM", stop);
  process.once("SIGINT", stop);
  setInterval(() => process.ppid === parent || stop(), 200);
  if (process.argv.includes("--greet")) console.log(greeting(rig));
  else console.log(JSON.stringify({ rpc_url: rig.rpcUrl, facilitator_url: rig.facilitatorUrl, pid: process.pid }));
}

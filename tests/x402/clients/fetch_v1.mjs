// A stock client of x402 version 1: x402-fetch, which knows the scheme exact and USDC.
import { fileURLToPath } from "node:url";
import { privateKeyToAccount } from "viem/accounts";
import { createSigner, wrapFetchWithPayment } from "x402-fetch";
import { NETWORK_V1 } from "../chain.mjs";
import { bodyOf, program, traced } from "./told.mjs";

export async function fetchV1({ key, fetch, maxValue = 1_000_000n }) {
  const wire = traced(fetch);
  const paying = wrapFetchWithPayment(wire.fetch, await createSigner(NETWORK_V1, key), maxValue);
  return {
    address: privateKeyToAccount(key).address,
    fetch: paying,
    exchanges: wire.exchanges,
    call: async ({ url, body, stream }) => bodyOf(await paying(url, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(stream ? { ...body, stream } : body),
    })),
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await program("fetch_v1", fetchV1);

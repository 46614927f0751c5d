// A stock client of x402 version 2: @x402/fetch, with the schemes and the tokens it is told to use.
import { toClientEvmSigner } from "@x402/evm";
import { BatchSettlementEvmScheme } from "@x402/evm/batch-settlement/client";
import { ExactEvmScheme } from "@x402/evm/exact/client";
import { UptoEvmScheme } from "@x402/evm/upto/client";
import { createSIWxClientExtension, createSIWxPayload, encodeSIWxHeader } from "@x402/extensions/sign-in-with-x";
import { wrapFetchWithPayment, x402Client } from "@x402/fetch";
import { fileURLToPath } from "node:url";
import { privateKeyToAccount } from "viem/accounts";
import { chainAt, NETWORK, USDC, USDT } from "../chain.mjs";
import { bodyOf, program, traced } from "./told.mjs";

/**
 * `account` is one that is a contract, where it is no key's. `tokens` are those it may pay with. Without `rpcUrl` the signer cannot read the chain, as a bare account of viem cannot. `batch` are
 * options of batch settlement: salt, storage, depositPolicy, voucherSigner.
 */
export function fetchV2({ key, account = privateKeyToAccount(key), rpcUrl, schemes = ["batch-settlement", "upto", "exact"], tokens = [USDC, USDT], siwx = false, batch = {}, fetch, maxAmountPerPayment }) {
  const signer = toClientEvmSigner(account, rpcUrl ? chainAt(rpcUrl).reader : undefined);
  const made = {
    exact: () => new ExactEvmScheme(signer),
    upto: () => new UptoEvmScheme(signer),
    "batch-settlement": () => new BatchSettlementEvmScheme(signer, { depositPolicy: {}, ...batch }),
  };
  // Spend controls let USDC through in any case, so that it takes a policy to pay with USDT where both are offered.
  const client = new x402Client()
    .setSpendControls({ allowedAssets: tokens.map((asset) => ({ network: NETWORK, asset })), maxAmountPerPayment })
    .registerPolicy((_, offers) => offers.filter(({ asset }) => tokens.some((token) => token.toLowerCase() === asset.toLowerCase())));
  const registered = Object.fromEntries(schemes.map((name) => [name, made[name]()]));
  for (const scheme of Object.values(registered)) client.register(NETWORK, scheme);
  if (siwx) client.registerExtension(createSIWxClientExtension({ signers: [account] }));

  const wire = traced(fetch);
  const paying = wrapFetchWithPayment(wire.fetch, client);
  return {
    address: account.address,
    client,
    fetch: paying,
    exchanges: wire.exchanges,
    call: async ({ url, body, stream, method = "POST", headers }) => {
      const sent = method === "POST" ? JSON.stringify(stream ? { ...body, stream } : body) : undefined;
      return bodyOf(await paying(url, { method, headers: { "content-type": "application/json", ...headers }, body: sent }));
    },
    /** A sign-in for what a server says is to be signed, by hand: `info` and `supportedChains`. */
    signIn: async ({ info, supportedChains: [chain] }) => encodeSIWxHeader(await createSIWxPayload({ ...info, ...chain }, account, info.uri)),
    refund: (url, amount) => registered["batch-settlement"].refund(url, { amount, fetch: wire.fetch }),
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await program("fetch_v2", fetchV2);

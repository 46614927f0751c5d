// A stock x402 facilitator over the local chain, with a switch for each way a facilitator can disappoint.
import { createServer } from "node:http";
import { x402Facilitator } from "@x402/core/facilitator";
import { toFacilitatorEvmSigner } from "@x402/evm";
import { BatchSettlementEvmScheme } from "@x402/evm/batch-settlement/facilitator";
import { ExactEvmScheme } from "@x402/evm/exact/facilitator";
import { ExactEvmSchemeV1 } from "@x402/evm/exact/v1/facilitator";
import { UptoEvmScheme } from "@x402/evm/upto/facilitator";
import { createErc20ApprovalGasSponsoringExtension, EIP2612_GAS_SPONSORING } from "@x402/extensions";
import { parseTransaction, recoverTransactionAddress } from "viem";
import { authorizer, facilitator as account, NETWORK, NETWORK_V1, turns, WALLET_FACTORY } from "./chain.mjs";
import { Control, fault } from "./control.mjs";
import { lie, spokenAsRs } from "./untruths.mjs";

/** What a facilitator that lists resources makes of a payment. */
export { extractDiscoveryInfo } from "@x402/extensions/bazaar";

export async function startFacilitator({ chain, port = 0 }) {
  const control = new Control();
  const scheme = stockFacilitator(chain);
  const server = createServer({ requestTimeout: 0 }, (req, res) => {
    serve(scheme, control, req, res).catch((error) => {
      if (res.headersSent || res.destroyed) return res.destroy();
      json(res, 500, { error: `facilitator: ${error.message}` });
    });
  });
  await new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, "127.0.0.1", resolve);
  });
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    control,
    close: () => new Promise((resolve) => {
      server.close(resolve);
      server.closeAllConnections();
    }),
  };
}

function stockFacilitator(chain) {
  const signer = facilitatorSigner(chain);
  const stock = new x402Facilitator();
  stock.register(NETWORK, new ExactEvmScheme(signer, { simulateInSettle: true, eip6492AllowedFactories: [WALLET_FACTORY] }));
  stock.register(NETWORK, new UptoEvmScheme(signer));
  stock.register(NETWORK, new BatchSettlementEvmScheme(signer, authorizer));
  stock.registerV1(NETWORK_V1, new ExactEvmSchemeV1(signer, { simulateInSettle: true }));
  stock.registerExtension(EIP2612_GAS_SPONSORING);
  stock.registerExtension(createErc20ApprovalGasSponsoringExtension(signer));
  return stock;
}

function facilitatorSigner(chain) {
  const client = chain.wallet(account);
  const { getCode, readContract, verifyTypedData, waitForTransactionReceipt } = client;
  // One transaction after the other is made and sent, each with the nonce that is then next: two at once would take the same one, and
  // a nonce that is taken and never sent would hold up all that follow.
  const inTurn = turns();
  const send = (how) => (request) => inTurn(async () => {
    const nonce = await client.getTransactionCount({ address: account.address, blockTag: "pending" });
    return how({ ...request, nonce });
  });
  const sendTransaction = send((request) => client.sendTransaction(request));
  const writeContract = send((request) => client.writeContract(request));
  const signer = toFacilitatorEvmSigner({ address: account.address, getCode, readContract, verifyTypedData, sendTransaction, writeContract, waitForTransactionReceipt });

  // A payer's signed approval comes with what is to follow it. The payer gets the gas first, and no more than lacks.
  const sponsor = turns();
  const sendTransactions = (requests) => sponsor(async () => {
    const hashes = [];
    for (const request of requests) {
      if (typeof request !== "string") {
        hashes.push(await sendTransaction(request));
        continue;
      }
      const { from, cost } = await bill(request);
      const held = await client.getBalance({ address: from });
      if (held < cost) await succeeded(await sendTransaction({ to: from, value: cost - held, gas: 21_000n }));
      hashes.push(await client.sendRawTransaction({ serializedTransaction: request }));
      await succeeded(hashes.at(-1));
    }
    return hashes;
  });
  async function succeeded(hash) {
    const { status } = await waitForTransactionReceipt({ hash });
    if (status !== "success") throw new Error(`erc20_approval_tx_failed: ${hash}`);
  }
  // The same on paper: all calls in one block that is never mined, the payer given the gas.
  async function simulateTransactions(requests) {
    const calls = [];
    const stateOverrides = {};
    for (const request of requests) {
      if (typeof request !== "string") {
        calls.push({ from: account.address, to: request.to, data: request.data });
        continue;
      }
      const { from, cost, to, data } = await bill(request);
      stateOverrides[from] = { balance: `0x${cost.toString(16)}` };
      calls.push({ from, to, data });
    }
    const [{ calls: results }] = await chain.rpc("eth_simulateV1", [{ blockStateCalls: [{ stateOverrides, calls }] }, "latest"]);
    return results.every(({ status }) => status === "0x1");
  }
  return { ...signer, sendTransactions, simulateTransactions };
}

async function bill(serializedTransaction) {
  const { to, data, gas, maxFeePerGas, gasPrice, value = 0n } = parseTransaction(serializedTransaction);
  return { from: await recoverTransactionAddress({ serializedTransaction }), to, data, cost: gas * (maxFeePerGas ?? gasPrice) + value };
}

async function serve(stock, control, req, res) {
  const { pathname } = new URL(req.url, "http://facilitator");
  const body = await bodyOf(req);
  if (pathname === "/control") return command(control, req, res, body);
  const operation = { "GET /supported": "supported", "POST /verify": "verify", "POST /settle": "settle" }[`${req.method} ${pathname}`];
  if (!operation) return json(res, 404, { error: `no ${req.method} ${pathname}` });

  const behaviour = control.take(operation);
  const entry = operation === "supported" ? {} : control.saw(operation, body, behaviour);
  const answer = (status, value) => {
    Object.assign(entry, { status, answer: value });
    if (!res.destroyed) json(res, status, value);
  };
  if (behaviour.delay_ms) await new Promise((resolve) => setTimeout(resolve, behaviour.delay_ms));
  if (behaviour.down) {
    entry.status = "reset";
    return req.socket.resetAndDestroy();
  }
  if (operation === "supported") return answer(200, stock.getSupported());

  const untrue = lie(behaviour.lie, operation, body);
  if (untrue) return answer(200, untrue);
  const same = operation === "settle" ? JSON.stringify(body) : undefined;
  const [status, truth] = control.unseen.get(same) ?? await outcome(stock, operation, body);
  control.unseen.delete(same);
  if (behaviour.settle_then_timeout) {
    Object.assign(entry, { status: "silent", answer: truth });
    return new Promise((resolve) => res.on("close", resolve));
  }
  if (behaviour.settle_then_down) {
    Object.assign(entry, { status: "reset", answer: truth });
    return req.socket.resetAndDestroy();
  }
  if (behaviour.pending && truth.success) {
    control.unseen.set(same, [status, truth]);
    const { transaction, network, payer } = truth;
    return answer(200, { success: false, errorReason: "settlement_pending", errorMessage: "timed out waiting for the receipt", transaction, network, payer });
  }
  return answer(...(behaviour.dialect === "rs" ? spokenAsRs(operation, status, truth) : [status, truth]));
}

/** What the stock facilitator says, also where it throws. */
async function outcome(stock, operation, { paymentPayload, paymentRequirements } = {}) {
  try {
    return [200, await stock[operation](paymentPayload, paymentRequirements)];
  } catch (error) {
    const network = paymentRequirements?.network ?? "";
    return [500, operation === "verify"
      ? { isValid: false, invalidReason: "unexpected_verify_error", invalidMessage: error.message }
      : { success: false, errorReason: "unexpected_settle_error", errorMessage: error.message, transaction: "", network }];
  }
}

function command(control, req, res, body) {
  if (req.method === "DELETE") control.reset();
  else if (req.method === "PUT") {
    const wrong = fault(body);
    if (wrong) return json(res, 400, { error: wrong });
    control.set(body);
  } else if (req.method !== "GET") return json(res, 405, { error: "use GET, PUT or DELETE" });
  return json(res, 200, control.view());
}

async function bodyOf(req) {
  const chunks = [];
  for await (const chunk of req) chunks.push(chunk);
  try {
    return JSON.parse(Buffer.concat(chunks).toString("utf8"));
  } catch {
    return undefined;
  }
}

function json(res, status, value) {
  const text = JSON.stringify(value, (_, member) => (typeof member === "bigint" ? String(member) : member));
  res.writeHead(status, { "content-type": "application/json", "content-length": Buffer.byteLength(text) });
  res.end(text);
}

// A stock paid server, for the rig's own test: @x402/core over node:http, selling a chat completion by every scheme.
import { HTTPFacilitatorClient, x402HTTPResourceServer, x402ResourceServer } from "@x402/core/server";
import { BatchSettlementEvmScheme } from "@x402/evm/batch-settlement/server";
import { ExactEvmScheme } from "@x402/evm/exact/server";
import { UptoEvmScheme } from "@x402/evm/upto/server";
import { bazaarResourceServerExtension, declareDiscoveryExtension, declareEip2612GasSponsoringExtension, declareErc20ApprovalGasSponsoringExtension } from "@x402/extensions";
import { createSIWxResourceServerExtension, declareSIWxExtension, InMemorySIWxStorage } from "@x402/extensions/sign-in-with-x";
import { createServer } from "node:http";
import { merchant, NETWORK, NETWORK_V1, USDC, USDT } from "./chain.mjs";

export const PRICE = 10_000; // what a call costs at most: a cent
// A token's name and version say that it takes signed permits: a stock client that is offered eip2612GasSponsoring then asks the token
// for `nonces`, and cannot pay at all where that reverts. So USDT goes without them.
const TOKENS = {
  usdc: { asset: USDC, extra: { name: "USDC", version: "2" } },
  usdt: { asset: USDT, extra: { assetTransferMethod: "permit2" } },
};
const SCHEMES = { exact: "exact", upto: "upto", batch: "batch-settlement" };

/**
 * Sells at `/{scheme}-{token}/v1/chat/completions`, as `/upto-usdt/…`; at `/exact-usdc-permit2/…` and `/exact-usdc-upfront/…`; at
 * `/all/…`, where everything is offered. The header `x-charge` says what a call of upto or batch costs.
 */
export async function startStockServer({ facilitatorUrl, payTo = merchant.address, receiverAuthorizer, port = 0 }) {
  const facilitator = new HTTPFacilitatorClient({ url: facilitatorUrl });
  const batch = new BatchSettlementEvmScheme(payTo, { receiverAuthorizerSigner: receiverAuthorizer });
  const resources = new x402ResourceServer(facilitator)
    .register(NETWORK, new ExactEvmScheme())
    .register(NETWORK, new UptoEvmScheme())
    .register(NETWORK, batch)
    .registerExtension(bazaarResourceServerExtension);

  const server = createServer((req, res) => serve(req, res).catch((error) => res.headersSent ? res.destroy() : send(res, 500, {}, { error: error.message })));
  await new Promise((resolve) => server.listen(port, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${server.address().port}`;
  resources.registerExtension(createSIWxResourceServerExtension({ origin: url, storage: new InMemorySIWxStorage() }));
  const paid = new x402HTTPResourceServer(resources, routes(url, payTo));
  await paid.initialize();

  async function serve(req, res) {
    const { pathname } = new URL(req.url, url);
    const body = await bodyOf(req);
    const v1 = req.headers["x-payment"];
    if (v1) return serveV1(res, facilitator, v1, `${url}${req.url}`, payTo, body);
    const context = { adapter: adapter(req, url, body), path: pathname, method: req.method };
    const outcome = await paid.processHTTPRequest(context);
    if (outcome.type === "no-payment-required") return complete(res, body, {});
    if (outcome.type === "payment-error") return send(res, outcome.response.status, outcome.response.headers, outcome.response.body);
    const charge = req.headers["x-charge"];
    const settled = await paid.processSettlement(
      outcome.paymentPayload, outcome.paymentRequirements, outcome.declaredExtensions, { request: context },
      charge === undefined ? undefined : { amount: charge }, outcome.beforeHandlerSettlement,
    );
    if (!settled.success) return send(res, settled.response.status, settled.response.headers, settled.response.body);
    return complete(res, body, req.headers["x-no-receipt"] ? {} : settled.headers);
  }

  return {
    url,
    batch,
    channels: batch.createChannelManager(facilitator, NETWORK, USDC),
    usdtChannels: batch.createChannelManager(facilitator, NETWORK, USDT),
    close: () => new Promise((resolve) => {
      server.close(resolve);
      server.closeAllConnections();
    }),
  };
}

function routes(url, payTo) {
  const offer = (scheme, token, extra = {}) => ({
    scheme: SCHEMES[scheme],
    network: NETWORK,
    payTo,
    maxTimeoutSeconds: 300,
    price: { amount: String(PRICE), asset: TOKENS[token].asset, extra: { ...TOKENS[token].extra, ...extra } },
  });
  const sold = {
    "exact-usdc-permit2": [offer("exact", "usdc", { assetTransferMethod: "permit2" })],
    "exact-usdc-upfront": [offer("exact", "usdc", { paymentFlow: "upfront" })],
    all: [offer("batch", "usdc"), offer("upto", "usdc"), offer("exact", "usdc"), offer("upto", "usdt"), offer("exact", "usdt")],
  };
  for (const scheme of Object.keys(SCHEMES)) for (const token of Object.keys(TOKENS)) sold[`${scheme}-${token}`] = [offer(scheme, token)];
  return Object.fromEntries(Object.entries(sold).map(([name, accepts]) => [`/${name}/v1/chat/completions`, {
    accepts,
    description: "A chat completion",
    mimeType: "application/json",
    serviceName: "Stock",
    extensions: {
      ...declareEip2612GasSponsoringExtension(),
      ...declareErc20ApprovalGasSponsoringExtension(),
      ...declareSIWxExtension({ statement: "Sign in to use your balance", network: NETWORK }),
      ...declareDiscoveryExtension({
        method: "POST",
        bodyType: "json",
        input: { model: "auto", messages: [{ role: "user", content: "hello" }] },
        inputSchema: { type: "object", properties: { model: { type: "string" }, messages: { type: "array" } }, required: ["messages"] },
      }),
    },
    unpaidResponseBody: ({ path }) => ({ contentType: "application/json", body: { x402Version: 1, error: "X-PAYMENT header is required", accepts: [offerV1(url + path, payTo)] } }),
  }]));
}

// One answer for both generations: version 2 reads the header, version 1 the body.
const offerV1 = (resource, payTo) => ({
  scheme: "exact",
  network: NETWORK_V1,
  maxAmountRequired: String(PRICE),
  resource,
  description: "A chat completion",
  mimeType: "application/json",
  payTo,
  maxTimeoutSeconds: 300,
  asset: USDC,
  extra: TOKENS.usdc.extra,
});

async function serveV1(res, facilitator, header, resource, payTo, body) {
  const payment = JSON.parse(Buffer.from(header, "base64").toString("utf8"));
  const requirements = offerV1(resource, payTo);
  const { isValid, invalidReason } = await facilitator.verify(payment, requirements);
  if (!isValid) return send(res, 402, {}, { x402Version: 1, error: invalidReason, accepts: [requirements] });
  const receipt = await facilitator.settle(payment, requirements);
  if (!receipt.success) return send(res, 402, {}, { x402Version: 1, error: receipt.errorReason, accepts: [requirements] });
  return complete(res, body, { "X-PAYMENT-RESPONSE": Buffer.from(JSON.stringify(receipt)).toString("base64") });
}

const WORDS = ["paid", " and", " answered"];

function complete(res, { stream } = {}, headers) {
  const base = { id: "chatcmpl-1", created: 1, model: "auto" };
  if (!stream) {
    return send(res, 200, headers, {
      ...base,
      object: "chat.completion",
      choices: [{ index: 0, message: { role: "assistant", content: WORDS.join("") }, finish_reason: "stop" }],
      usage: { prompt_tokens: 1, completion_tokens: 3, total_tokens: 4 },
    });
  }
  const chunk = (delta, finish_reason = null) => ({ ...base, object: "chat.completion.chunk", choices: [{ index: 0, delta, finish_reason }] });
  res.writeHead(200, { ...headers, "content-type": "text/event-stream" });
  for (const content of WORDS) res.write(`data: ${JSON.stringify(chunk({ content }))}\n\n`);
  res.end(`data: ${JSON.stringify(chunk({}, "stop"))}\n\ndata: [DONE]\n\n`);
}

const adapter = (req, url, body) => ({
  getHeader: (name) => req.headers[name.toLowerCase()],
  getMethod: () => req.method,
  getPath: () => new URL(req.url, url).pathname,
  getUrl: () => `${url}${req.url}`,
  getAcceptHeader: () => req.headers.accept ?? "",
  getUserAgent: () => req.headers["user-agent"] ?? "",
  getBody: () => body,
});

async function bodyOf(req) {
  const chunks = [];
  for await (const chunk of req) chunks.push(chunk);
  return chunks.length ? JSON.parse(Buffer.concat(chunks).toString("utf8")) : undefined;
}

function send(res, status, headers, body) {
  res.writeHead(status, { "content-type": "application/json", ...headers });
  res.end(JSON.stringify(body));
}

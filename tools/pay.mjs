// `make pay`: an agent without an account pays for a call, beside `make run` and `make rig`. It makes itself a wallet, asks what the call
// costs, pays with a stock client of x402, and looks up what became of the money.
const { BASE_URL, SCHEME, TOKEN, MODEL, PROMPT, RPC_URL } = process.env;
const base = (BASE_URL || "http://127.0.0.1:8787").replace(/\/$/, "");
const rpcUrl = RPC_URL || "http://127.0.0.1:8545";
const scheme = SCHEME || "upto";
const symbol = (TOKEN || "usdc").toUpperCase();
const body = { model: MODEL || "auto", stream: true, messages: [{ role: "user", content: PROMPT || "Explain in two sentences what a payment channel is." }] };

class Told extends Error {}
const decoded = (header) => JSON.parse(Buffer.from(header, "base64").toString("utf8"));
const dollars = (units) => `${(Number(units) / 1e6).toFixed(6)} USD`;
const title = (text) => console.log(`\n${text}\n${"-".repeat(text.length)}`);
const row = (name, value) => console.log(`  ${name.padEnd(14)} ${value}`);

async function until(look, ms) {
  for (const end = Date.now() + ms; Date.now() < end;) {
    const seen = await look();
    if (seen) return seen;
    await new Promise((done) => setTimeout(done, 200));
  }
}

/** Asks for something of the wallet's own, signed in by what the 401 says is to be signed for that URL. */
async function asWallet(client, path) {
  const url = `${base}${path}`;
  const asked = await fetch(url).then((answer) => answer.json());
  const sign = asked.error?.metadata?.sign_in;
  if (!sign) throw new Told(`${url} does not say what to sign in with: ${asked.error?.message}`);
  const header = await client.signIn(sign);
  const answer = await fetch(url, { headers: { "sign-in-with-x": header } });
  const told = await answer.json();
  if (!answer.ok) throw new Told(`${url} answered ${answer.status}: ${told.error?.message}`);
  return told;
}

async function main() {
  const { chainAt, NETWORK, USDC, USDT } = await import("../tests/x402/chain.mjs").catch(() => {
    throw new Told("The packages of the payment rig are missing. Run: make rig");
  });
  const { fetchV2 } = await import("../tests/x402/clients/fetch_v2.mjs");
  const token = { USDC, USDT }[symbol];
  if (!token) throw new Told(`There is no token ${symbol} here. TOKEN is usdc or usdt.`);
  if (!["exact", "upto", "batch-settlement"].includes(scheme)) throw new Told(`There is no scheme ${scheme}. SCHEME is exact, upto or batch-settlement.`);

  const chain = chainAt(rpcUrl);
  await fetch(rpcUrl, { method: "POST", body: "{}" }).catch(() => { throw new Told(`No chain answers at ${rpcUrl}. In another terminal: make rig`); });
  await fetch(`${base}/healthz`).catch(() => { throw new Told(`No worker answers at ${base}. In another terminal: make run`); });

  title("A wallet");
  const wallet = await chain.fresh({ [symbol.toLowerCase()]: 5_000_000n });
  row("address", wallet.address);
  row("holds", `5 ${symbol}, no ETH, nothing approved`);

  title("What the call costs");
  const url = `${base}/v1/chat/completions`;
  const init = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
  const first = await fetch(url, init);
  const required = first.headers.get("payment-required");
  if (first.status !== 402 || !required) {
    const { error } = await first.json().catch(() => ({}));
    throw new Told(`${url} answered ${first.status} without a price: ${error?.message ?? "nothing"}`);
  }
  const name = (asset) => Object.entries({ USDC, USDT }).find(([, at]) => at.toLowerCase() === asset.toLowerCase())?.[0] ?? asset;
  for (const { scheme: how, asset, amount, extra } of decoded(required).accepts) {
    console.log(`  ${how.padEnd(17)} ${name(asset)}  at most ${dollars(amount)}  ${(extra.mode ?? "").padEnd(9)} ${(extra.models ?? []).join(", ")}`);
  }
  const of = (offer) => offer.scheme === scheme && offer.asset.toLowerCase() === token.toLowerCase();
  if (!decoded(required).accepts.some(of)) throw new Told(`This worker does not offer ${scheme} in ${symbol}. Does its facilitator run? (make rig)`);

  title(`The answer, paid by ${scheme} in ${symbol}`);
  const client = fetchV2({ key: wallet.key, rpcUrl, schemes: [scheme], tokens: [token] });
  const answer = await client.fetch(url, init);
  const requestId = answer.headers.get("x-request-id");
  if (!answer.ok) {
    const { error } = await answer.json().catch(() => ({}));
    throw new Told(`The call was refused with ${answer.status}: ${error?.message ?? "nothing"}`);
  }
  let text = "";
  const reader = new TextDecoder();
  let shown = 0;
  for await (const chunk of answer.body) {
    text += reader.decode(chunk, { stream: true });
    const frames = text.split("\n\n");
    for (; shown < frames.length - 1; shown++) {
      const data = /^data: (\{.*)$/m.exec(frames[shown])?.[1];
      process.stdout.write((data && JSON.parse(data).choices?.[0]?.delta?.content) ?? "");
    }
  }
  console.log();
  const comment = /^: megarouter (.*)$/m.exec(text)?.[1];
  const told = comment ? JSON.parse(comment) : {};

  title("What was paid");
  row("request", requestId);
  row("cost", `${told.cost_usd} USD`);
  console.log(`\n: megarouter … "payment":${JSON.stringify(told.payment, null, 2)}`);

  title("On the chain");
  const moves = await until(async () => {
    const found = await chain.transfers(token, { from: wallet.address });
    return found.length > 0 && found;
  }, 15_000);
  if (!moves) console.log("  Nothing has moved within 15 seconds.");
  for (const { transaction, to, amount } of moves ?? []) {
    row("transaction", transaction);
    row("from", wallet.address);
    row("to", scheme === "batch-settlement" ? `${to} (the channel; we claim from it later)` : to);
    row("amount", `${amount} units of ${symbol}, ${dollars(amount)}`);
  }

  title("The receipt");
  // It is there once the charge is.
  const look = () => asWallet(client, `/v1/receipts/${requestId}`).catch((error) => { if (!/answered 404/.test(error.message)) throw error; });
  const receipt = await until(look, 5_000).catch((error) => console.log(`  ${error.message}`));
  if (receipt) console.log(JSON.stringify(receipt, null, 2));

  title("The balance");
  console.log(JSON.stringify(await asWallet(client, "/v1/balance"), null, 2));
}

main().catch((error) => {
  console.error(`\n${error instanceof Told ? error.message : `It did not work: ${error.shortMessage ?? error.message}`}`);
  process.exit(1);
});

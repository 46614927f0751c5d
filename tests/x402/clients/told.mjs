// What the paying clients share: a fetch that remembers what went over it, and how a client tells what happened.
import { chainAt } from "../chain.mjs";

const decoded = (header) => (header ? JSON.parse(Buffer.from(header, "base64").toString("utf8")) : undefined);

/** `fetch`, and the list of its exchanges with the headers of x402 in the clear. */
export function traced(fetch = globalThis.fetch) {
  const exchanges = [];
  const tracing = async (input, init) => {
    const request = new Request(input, init);
    const sent = (name) => decoded(request.headers.get(name));
    const exchange = {
      method: request.method,
      url: request.url,
      payment: sent("PAYMENT-SIGNATURE") ?? sent("X-PAYMENT"),
      signIn: sent("SIGN-IN-WITH-X"),
      at: Date.now(),
    };
    exchanges.push(exchange);
    const response = await fetch(request);
    const got = (name) => decoded(response.headers.get(name));
    Object.assign(exchange, {
      status: response.status,
      ms: Date.now() - exchange.at,
      required: got("PAYMENT-REQUIRED"),
      receipt: got("PAYMENT-RESPONSE") ?? got("X-PAYMENT-RESPONSE"),
    });
    return response;
  };
  return { fetch: tracing, exchanges };
}

/** The body of an answer: JSON, the events of a stream, or text. */
export async function bodyOf(response) {
  const text = await response.text();
  if (response.headers.get("content-type")?.startsWith("text/event-stream")) return { events: eventsOf(text) };
  try {
    return { answer: JSON.parse(text) };
  } catch {
    return { answer: text };
  }
}

export function eventsOf(text) {
  return text.split(/\r?\n\r?\n/).filter(Boolean).map((event) => {
    const data = event.split(/\r?\n/).filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trim()).join("\n");
    if (!data) return { comment: event };
    try {
      return JSON.parse(data);
    } catch {
      return data;
    }
  });
}

/** Of the exchanges of one call: how it was paid, what the receipt says, how many requests it took. */
export function story(exchanges) {
  const paid = exchanges.findLast(({ payment }) => payment)?.payment;
  const last = exchanges.at(-1);
  return {
    status: last?.status,
    requests: exchanges.length,
    scheme: paid?.accepted?.scheme ?? paid?.scheme,
    asset: paid?.accepted?.asset,
    type: paid?.payload?.type,
    signedIn: exchanges.some(({ signIn }) => signIn) || undefined,
    error: last?.required?.error,
    receipt: last?.receipt,
  };
}

export const written = (value) => JSON.stringify(value, (_, member) => (typeof member === "bigint" ? String(member) : member));

const BODY = '{"model":"auto","messages":[{"role":"user","content":"hello"}]}';

/** The program around a client: `call` makes one call; a line of JSON is printed for each. */
export async function program(name, make) {
  const [url, body = BODY] = process.argv.slice(2);
  const { PAYER_KEY: key, RPC_URL: rpcUrl = "http://127.0.0.1:8545", SCHEMES, CALLS = "1", TRACE, ...env } = process.env;
  if (!url || !key) {
    console.error(`usage: PAYER_KEY=0x… [RPC_URL=] [SCHEMES=exact,upto,batch-settlement] [STREAM=1] [CALLS=1] [SIWX=1] [REFUND=1] [TRACE=1] node ${name}.mjs URL [BODY]`);
    process.exit(2);
  }
  const { balances } = chainAt(rpcUrl);
  const client = await make({ key, rpcUrl, schemes: SCHEMES?.split(","), siwx: Boolean(env.SIWX) });
  const asked = { url, body: JSON.parse(body), stream: Boolean(env.STREAM) };
  for (let i = 0; i < Number(CALLS); i++) await tell(() => client.call(asked));
  if (env.REFUND) await tell(async () => ({ refund: await client.refund(url) }));

  async function tell(act) {
    const from = client.exchanges.length;
    const before = await balances(client.address);
    const outcome = await act().catch((error) => ({ failure: error.message }));
    const exchanges = client.exchanges.slice(from);
    console.log(written({ client: name, ...story(exchanges), ...outcome, before, after: await balances(client.address), ...(TRACE && { exchanges }) }));
  }
}

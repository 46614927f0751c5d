// Takes alerts of MegaRouter and checks who sent them: SECRET=whsec_… node docs/webhook-receiver.mjs
import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";

const keys = process.env.SECRET.split(" ").map((secret) => Buffer.from(secret.replace("whsec_", ""), "base64"));

createServer(async (request, response) => {
  const body = Buffer.concat(await request.toArray());
  const { "webhook-id": id, "webhook-timestamp": time, "webhook-signature": signatures = "" } = request.headers;
  const mac = (key) => createHmac("sha256", key).update(`${id}.${time}.`).update(body).digest();
  const same = (one, other) => one.length === other.length && timingSafeEqual(one, other);
  const sent = signatures.split(" ").map((one) => Buffer.from(one.replace("v1,", ""), "base64"));
  const good = keys.some((key) => sent.some((one) => same(one, mac(key)))) && Math.abs(Date.now() / 1000 - time) < 300;
  console.log(good ? `${id} ${body}` : "refused: not signed with our secret, or too old");
  response.writeHead(good ? 204 : 401).end();
}).listen(Number(process.env.PORT ?? 9000), "127.0.0.1");

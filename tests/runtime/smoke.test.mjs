import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { start } from "./harness.mjs";

let here;
before(async () => { here = await start(); });
after(() => here.close());

test("the worker is there", async () => {
  const { status } = await here.call("GET", "/healthz");
  assert.equal(status, 200);
});

test("an organisation has an admin key that sees its wallet and an inference key", async () => {
  const own = await here.newOrganization({ credit_usd: "5" });
  const { status } = await here.call("GET", "/admin/v1/wallet", own.adminKey);
  assert.equal(status, 200);
  assert.match(own.key, /^mr_sk_/);
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { chaos } from "./chaos.mjs";

test("500 requests while providers fail at random: each is whole, or says that it is not, and the books agree", async () => {
  const { seen, ...books } = await chaos({ requests: 500 });
  assert.ok(books.compared >= 300, `${books.compared} charges were compared`);
  console.log(JSON.stringify({ ...seen, ...books }));
  for (const [kind, least] of [["answered", 50], ["fallback", 10], ["rescued", 2]]) assert.ok(seen[kind] >= least, `${kind}: ${seen[kind]}`);
});

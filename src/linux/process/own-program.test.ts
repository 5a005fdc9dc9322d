import assert from "node:assert/strict";
import { once } from "node:events";
import { Socket } from "node:net";
import { test } from "node:test";

import { keepText } from "./own-program.ts";

test("keepText() keeps the beginning of what is written until the end", async () => {
  const stream = new Socket();
  const kept = keepText(stream, 5);
  for (const part of ["one", "two", "three"]) stream.push(part);
  stream.push(null);
  stream.end();
  assert.equal(await kept, "onetw");
});

test("keepText() does not wait for a stream that is closed, as that of a program that ended early", async () => {
  const stream = new Socket();
  stream.destroy();
  await once(stream, "close");
  assert.equal(await keepText(stream, 5), "");
  assert.equal(await keepText(undefined, 5), "");
});

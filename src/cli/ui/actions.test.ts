import assert from "node:assert/strict";
import { Readable } from "node:stream";
import type { IncomingMessage } from "node:http";
import { test } from "node:test";
import { actionOf } from "./actions.ts";
import { readBody } from "./body.ts";

test("actionOf() accepts the four actions with an id", () => {
  for (const action of ["stop-pod", "remove-pod", "stop-container", "remove-image"]) {
    assert.deepEqual(actionOf({ action, id: "x", more: 1 }), { action, id: "x" });
  }
  for (const body of [
    {},
    { action: "stop-pod" },
    { action: "stop-pod", id: "" },
    { action: "stop-pod", id: ["x"] },
    { action: "exec", id: "x" },
    { action: "toString", id: "x" },
  ]) {
    assert.equal(actionOf(body), undefined);
  }
});

function request(text: string, type = "application/json"): IncomingMessage {
  const stream = Readable.from([Buffer.from(text.slice(0, 10)), Buffer.from(text.slice(10))]);
  // Only what readBody uses of a request.
  return Object.assign(stream, { headers: { "content-type": type } }) as unknown as IncomingMessage;
}

test("readBody() accepts a small JSON object only", async () => {
  assert.deepEqual(await readBody(request('{"token":"a","b":1}')), { token: "a", b: 1 });
  for (const text of ["", "3", "null", '"x"', "{", `{"a":"${"x".repeat(5_000)}"}`]) {
    await assert.rejects(readBody(request(text)), { kind: "invalid-argument" }, text.slice(0, 9));
  }
  await assert.rejects(readBody(request("{}", "text/plain")), { kind: "invalid-argument" });
});

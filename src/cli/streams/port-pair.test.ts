import assert from "node:assert/strict";
import { test } from "node:test";
import { parsePortPair } from "./port-pair.ts";

test("parsePortPair() parses the operands of port-forward only", () => {
  assert.deepEqual(parsePortPair("8080:80"), { local: 8080, remote: 80 });
  assert.deepEqual(parsePortPair("80"), { local: 80, remote: 80 });
  assert.deepEqual(parsePortPair(":80"), { local: 0, remote: 80 });
  for (const text of ["", ":", "80:", "0", "70000", "70000:80", "a", "80:80:80", "-1", "8 0"]) {
    assert.equal(parsePortPair(text), undefined, text);
  }
});

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { parseStartTime } from "./process-ref.ts";

describe("parseStartTime()", () => {
  const stat = (name: string, state: string): string =>
    `42 (${name}) ${state} 1 42 42 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 9007199254740993 0 0`;

  test("counts from the last parenthesis, and keeps all digits", () => {
    assert.equal(parseStartTime(stat("a) S 1 (b", "S")), 9007199254740993n);
  });

  test("is undefined for a zombie", () => {
    assert.equal(parseStartTime(stat("sh", "Z")), undefined);
  });
});

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { isKind } from "../../../base/errors.ts";
import { parseSyncMessage } from "./sync-message.ts";

describe("parseSyncMessage()", () => {
  test("reads a pid, and a failure with the runtime's message", () => {
    assert.deepEqual(parseSyncMessage('{"pid": 1234}'), { pid: 1234, message: "" });
    const line = '{"pid": -1, "message": "exec `a\\"b` failed\\n"}';
    assert.deepEqual(parseSyncMessage(line), { pid: -1, message: 'exec `a"b` failed\n' });
  });

  test("reads a message that conmon did not escape as JSON requires", () => {
    const line = '{"pid": -1, "message": "no \\x file: \u0001"}';
    assert.deepEqual(parseSyncMessage(line), { pid: -1, message: "no \\x file: \u0001" });
  });

  test("rejects an invalid answer", () => {
    for (const line of ["", "hello", "{}", '{"pid": "1"}', '{"pid": 1.5}', "null"]) {
      assert.throws(
        () => parseSyncMessage(line),
        (error) => isKind(error, "internal"),
        line,
      );
    }
  });
});

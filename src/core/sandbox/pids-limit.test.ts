import assert from "node:assert/strict";
import { test } from "node:test";
import { askedPidsLimit, pidsLimitAnnotation } from "./pids-limit.ts";

const pod = (value: string) => ({ annotations: { [pidsLimitAnnotation]: value } });

test("askedPidsLimit() reads a whole number, and refuses everything else", () => {
  assert.equal(askedPidsLimit({ annotations: {} }), undefined);
  assert.equal(askedPidsLimit(pod("1")), 1n);
  assert.equal(askedPidsLimit(pod("4194304")), 4_194_304n);
  for (const text of [
    "",
    "0",
    "-1",
    "1.5",
    "1e3",
    "01",
    " 1",
    "1\n",
    "max",
    "4194305",
    "99999999",
  ]) {
    assert.throws(() => askedPidsLimit(pod(text)), { kind: "invalid-argument" }, text);
  }
});

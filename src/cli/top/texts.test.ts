import assert from "node:assert/strict";
import { test } from "node:test";
import { createTerminal } from "../output/terminal.ts";
import { quietNode } from "./testing/samples.ts";
import { failureLines } from "./texts.ts";

test("failureLines() has no control character of an image, but the colors", () => {
  const { style } = createTerminal({ isTTY: true, write: () => true }, { write: () => true }, {});
  const failure = {
    operation: "create-container",
    subject: "web_default\u001b[2J_u_0",
    startedMs: 0,
    tookMs: 10,
    stages: [{ stage: "resolve\u001b[8muser", atMs: 0, detail: undefined }],
    error: 'resolve user "a\n\u001b]52;c;eA==\u0007"',
  };
  const node = {
    ...quietNode,
    activity: { inflight: [], pulls: new Map(), failures: [failure] },
  };
  const lines = failureLines(node, 20, style);
  assert.match(lines.join("\n"), /\u001b\[31mfailed\u001b\[39m/);
  const plain = lines.join("\n").replace(/\u001b\[(?:1|22|3[123]|39)m/g, "");
  assert.doesNotMatch(plain, /(?!\n)[\u0000-\u001f\u007f-\u009f]/);
  assert.match(plain, /\n {2}resolve user "a\n {6}\?]52;c;eA==\?"\n/);
});

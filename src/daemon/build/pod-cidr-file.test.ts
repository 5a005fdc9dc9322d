import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { type Logger, silentLogger } from "../../base/logger.ts";
import { PodCidrFile } from "./pod-cidr-file.ts";

function directory(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), "davit-cidrs-"));
  t.after(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

test("PodCidrFile keeps the last value for the next daemon", (t) => {
  const root = directory(t);
  const file = new PodCidrFile(root, silentLogger);
  assert.equal(file.text, "");
  file.set("10.1.0.0/24");
  file.set("10.1.0.0/24,fd00::/64");
  assert.equal(file.text, "10.1.0.0/24,fd00::/64");
  assert.equal(new PodCidrFile(root, silentLogger).text, file.text);
  assert.deepEqual(readdirSync(root), ["pod-cidrs"]);
});

test("PodCidrFile keeps the value in memory where it cannot write, and says so", (t) => {
  const warned: string[] = [];
  const log: Logger = { ...silentLogger, warn: (text) => void warned.push(text) };
  const root = join(directory(t), "missing");
  const file = new PodCidrFile(root, log);
  assert.deepEqual(warned, [], "there is no file before the first value");
  file.set("10.1.0.0/24");
  assert.equal(file.text, "10.1.0.0/24");
  assert.match(warned.join(), /^cannot write the node's pod CIDRs; restart kubelet/);
  // A kubelet that was restarted sends the same ones.
  mkdirSync(root);
  file.set("10.1.0.0/24");
  assert.equal(warned.length, 1);
  assert.equal(new PodCidrFile(root, silentLogger).text, "10.1.0.0/24");
});

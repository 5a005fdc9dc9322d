import assert from "node:assert/strict";
import {
  chmodSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { NodeSeal } from "./seal.ts";

const directory = mkdtempSync(join(tmpdir(), "davit-seal-"));
after(() => rmSync(directory, { recursive: true }));

test("NodeSeal makes a key once, and knows its own codes only", async () => {
  const path = join(directory, "new/key");
  const [one, other] = [new NodeSeal(path), new NodeSeal(path)];
  const [code, same] = await Promise.all([one.codeOf("text"), other.codeOf("text")]);
  assert.equal(code, same);
  assert.equal(statSync(path).mode & 0o777, 0o600);
  assert.equal(readFileSync(path).length, 32);
  assert.deepEqual(readdirSync(join(directory, "new")), ["key"]);
  assert.ok(await new NodeSeal(path).isOwn("text", code));
  assert.ok(!(await one.isOwn("other", code)));
  for (const wrong of ["", "00", "0".repeat(64), `${code}0`]) {
    assert.ok(!(await one.isOwn("text", wrong)), wrong);
  }
  const elsewhere = new NodeSeal(join(directory, "elsewhere/key"));
  assert.ok(!(await elsewhere.isOwn("text", code)));
});

test("NodeSeal refuses a key that others can read, or that has another length, and says what to do", async () => {
  const path = join(directory, "key");
  writeFileSync(path, Buffer.alloc(32), { mode: 0o600 });
  await new NodeSeal(path).codeOf("text");
  chmodSync(path, 0o640);
  const seal = new NodeSeal(path);
  const wrong = { kind: "failed-precondition", message: /mode 0600. Remove it for a new key/ };
  await assert.rejects(seal.codeOf("text"), wrong);
  // The next caller reads it again.
  chmodSync(path, 0o600);
  await seal.codeOf("text");
  writeFileSync(path, Buffer.alloc(31));
  await assert.rejects(new NodeSeal(path).codeOf("text"), wrong);
});

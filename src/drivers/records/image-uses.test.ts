import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { type Logger, silentLogger } from "../../base/logger.ts";
import { FileImageUses } from "./image-uses.ts";

const root = mkdtempSync(join(tmpdir(), "davit-uses-"));
after(() => {
  rmSync(root, { recursive: true });
});
const id = `sha256:${"a".repeat(64)}` as const;
const warned: string[] = [];
const log: Logger = { ...silentLogger, warn: (text) => void warned.push(text) };

test("uses are read as they were written, and no other file is left", async () => {
  const uses = new FileImageUses(root, log);
  assert.deepEqual([...(await uses.load())], []);
  await uses.save(new Map([[id, 1_700_000_000_000]]));
  assert.deepEqual([...(await new FileImageUses(root, log).load())], [[id, 1_700_000_000_000]]);
  assert.deepEqual(readdirSync(root), ["image-uses.json"]);
  assert.deepEqual(warned, []);
});

test("a file that cannot be used has no uses, and what is not a use is ignored", async () => {
  const path = join(root, "image-uses.json");
  writeFileSync(path, "");
  assert.deepEqual([...(await new FileImageUses(root, log).load())], []);
  assert.match(warned.join(), /all images count as used now: cannot read/);
  writeFileSync(path, JSON.stringify({ uses: { [id]: "1", other: 2 } }));
  assert.deepEqual([...(await new FileImageUses(root, log).load())], []);
  writeFileSync(path, "null");
  assert.deepEqual([...(await new FileImageUses(root, log).load())], []);
});

test("a directory that cannot be written is a warning", async () => {
  await new FileImageUses(join(root, "missing"), log).save(new Map([[id, 1]]));
  assert.match(warned.at(-1) ?? "", /cannot write/);
});

import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";

import type { CgroupLayout } from "./layout.ts";
import { reclaimMemory } from "./reclaim.ts";

let root = "";
const never = new AbortController().signal;
const v2 = (): CgroupLayout => ({ version: "v2", root, controllers: ["memory"] });

before(() => {
  root = mkdtempSync(path.join(tmpdir(), "davit-reclaim-"));
});
after(() => {
  rmSync(root, { recursive: true });
});

function makeCgroup(name: string, bytes: string): string {
  const directory = path.join(root, name);
  mkdirSync(directory);
  writeFileSync(path.join(directory, "memory.current"), `${bytes}\n`);
  return directory;
}

test("reclaimMemory() asks for all that the cgroup uses, in steps", async () => {
  const directory = makeCgroup("used", String(100 * 1024 * 1024));
  writeFileSync(path.join(directory, "memory.reclaim"), "");
  // Nothing is freed in a fake tree.
  assert.equal(await reclaimMemory(v2(), "/used", never), 0n);
  const last = readFileSync(path.join(directory, "memory.reclaim"), "utf8");
  assert.match(last, new RegExp(`^${36 * 1024 * 1024}`));
});

test("reclaimMemory() stops for a caller that leaves", async () => {
  const directory = makeCgroup("left", "1000");
  writeFileSync(path.join(directory, "memory.reclaim"), "");
  const left = AbortSignal.abort(new Error("the client has left"));
  await assert.rejects(reclaimMemory(v2(), "/left", left), /the client has left/);
});

test("reclaimMemory() names what is missing", async () => {
  makeCgroup("old", "1000");
  await assert.rejects(reclaimMemory(v2(), "/old", never), {
    kind: "failed-precondition",
    message:
      /^reclaim memory of cgroup "\/old": .* needs Linux 5.19 or newer and the memory controller$/,
  });
  const v1: CgroupLayout = {
    version: "v1",
    hierarchies: [{ path: root, controllers: ["memory"] }],
    ownedByV2: [],
    advice: undefined,
  };
  await assert.rejects(reclaimMemory(v1, "/old", never), {
    kind: "failed-precondition",
    message: /only cgroup v2 can do this \(memory.reclaim\), and this node has cgroup v1/,
  });
});

import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";

import { RuntimeError } from "../base/errors.ts";
import type { CgroupLayout } from "../linux/cgroup/index.ts";
import { explainProcessLimit } from "./process-limit.ts";

// Plain directories in place of a tree of v2 and of a hierarchy of v1.
const root = mkdtempSync(join(tmpdir(), "davit-process-limit-"));
after(() => rmSync(root, { recursive: true }));
mkdirSync(join(root, "pod/container"), { recursive: true });
const v2: CgroupLayout = { version: "v2", root, controllers: ["pids"] };
const v1 = (...controllers: readonly string[]): CgroupLayout => {
  const hierarchies = [{ path: root, controllers }];
  return { version: "v1", hierarchies, ownedByV2: [], advice: undefined };
};

function count(cgroup: string, used: number, limit: number | "max"): void {
  writeFileSync(join(root, cgroup, "pids.current"), `${used}\n`);
  writeFileSync(join(root, cgroup, "pids.max"), `${limit}\n`);
}

const refused = "OCI runtime exec: fail startup; fork: Resource temporarily unavailable";

/** A command that cannot be started. */
function start(text = refused, cgroups = v2): Promise<never> {
  const failing = (): Promise<never> => Promise.reject(new RuntimeError("unknown", text));
  return explainProcessLimit({ cgroups, path: "/pod/container" }, "run command", failing);
}

describe("explainProcessLimit()", () => {
  test("names the cgroup that is at its limit, and both numbers", async () => {
    count("pod", 70, "max");
    count("pod/container", 59, 60);
    const error = {
      kind: "resource-exhausted",
      message: `run command: its cgroup "/pod/container" has 59 of at most 60 processes and threads, too many to start a command; end some of them, or raise the limit`,
    };
    for (const layout of [v2, v1("cpu", "pids")]) {
      await assert.rejects(start(refused, layout), error);
    }
    const bySomeRuntimes = "runtime: failed to create new OS thread (have 5 already; errno=11)";
    await assert.rejects(start(bySomeRuntimes), { kind: "resource-exhausted" });
  });

  test("finds the limit of the pod", async () => {
    count("pod", 1_000, 1_000);
    count("pod/container", 59, "max");
    await assert.rejects(start(), { message: /cgroup "\/pod" has 1000 of at most 1000 / });
  });

  test("leaves other failures, and those below every limit, unchanged", async () => {
    count("pod", 1, "max");
    count("pod/container", 1, 60);
    await assert.rejects(start(), { kind: "unknown", message: refused });
    await assert.rejects(start(refused, v1("memory")), { message: refused });
    count("pod/container", 60, 60);
    await assert.rejects(start("no such file"), { kind: "unknown", message: "no such file" });
  });

  test("leaves a command that starts alone", async () => {
    const cgroup = { cgroups: v2, path: "/pod/container" };
    assert.equal(await explainProcessLimit(cgroup, "run", () => Promise.resolve(7)), 7);
  });
});

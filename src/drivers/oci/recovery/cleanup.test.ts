import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, test } from "node:test";
import { silentLogger } from "../../../base/logger.ts";
import type { RuntimeState } from "../runtime-state.ts";
import { oomEventsFile } from "../../../linux/cgroup/index.ts";
import { StateLayout } from "../state-layout.ts";
import { ContainerCleanup } from "./cleanup.ts";

const slice = "/a.slice";

let root: string;
let cleanup: ContainerCleanup;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "davit-cleanup-"));
  const cgroups = { version: "v2", root, controllers: [] } as const;
  cleanup = new ContainerCleanup(
    { cgroups, log: silentLogger },
    new StateLayout(join(root, "state")),
  );
  mkdirSync(join(root, slice));
  sliceCounts(0);
});
afterEach(() => {
  rmSync(root, { recursive: true });
});

function sliceCounts(kills: number): void {
  writeFileSync(join(root, slice, "memory.events"), `oom 0\noom_kill ${kills}\n`);
}

/** Starts a container. */
async function started(id: string): Promise<RuntimeState> {
  const cgroupPath = `${slice}/cri-containerd-${id}.scope`;
  mkdirSync(join(root, cgroupPath));
  scopeCounts(cgroupPath, 0);
  mkdirSync(join(root, "state/containers", id), { recursive: true });
  const before = await cleanup.oomKillsBefore(cgroupPath);
  return { runtimePath: "crun", cgroupPath, ...before };
}

function scopeCounts(cgroupPath: string, kills: number): void {
  writeFileSync(join(root, cgroupPath, "memory.events"), `oom_kill ${kills}\n`);
}

/** Removes a scope, as systemd does when its last process has ended. */
function removeScope({ cgroupPath }: RuntimeState): void {
  rmSync(join(root, cgroupPath), { recursive: true });
}

const bySigkill = { exitCode: 137, killed: false };

describe("a container whose scope systemd removed before it was read", () => {
  test("ran out of memory when its slice counts a kill that was not attributed", async () => {
    const state = await started("a");
    removeScope(state);
    sliceCounts(1);
    assert.equal(await cleanup.ranOutOfMemory("a", state, { ...bySigkill, exitCode: 1 }), false);
    assert.equal(await cleanup.ranOutOfMemory("a", state, bySigkill), true);
  });

  test("ran out of memory when its monitor has left the mark, whatever the slice counts", async () => {
    const state = await started("a");
    assert.equal(
      oomEventsFile({ version: "v2", root, controllers: [] }, state.cgroupPath),
      join(root, state.cgroupPath, "memory.events"),
      "what the monitor reads",
    );
    writeFileSync(join(root, "state/containers/a/oom"), "");
    removeScope(state);
    assert.equal(await cleanup.ranOutOfMemory("a", state, { ...bySigkill, exitCode: 1 }), true);
  });

  test("did not run out of memory when davit killed it", async () => {
    const state = await started("a");
    removeScope(state);
    sliceCounts(1);
    assert.equal(await cleanup.ranOutOfMemory("a", state, { ...bySigkill, killed: true }), false);
  });

  test("did not when the kill was before its start, or of another that ended before", async () => {
    sliceCounts(2);
    const state = await started("a");
    const other = await started("b");
    removeScope(other);
    sliceCounts(3);
    await cleanup.endProcesses(other, 1000);
    removeScope(state);
    assert.equal(await cleanup.ranOutOfMemory("a", state, bySigkill), false);
  });

  test("did not when the kill is that of another whose exit was read and whose scope is gone", async () => {
    const [state, other] = [await started("a"), await started("b")];
    scopeCounts(other.cgroupPath, 1);
    sliceCounts(1);
    assert.equal(await cleanup.ranOutOfMemory("b", other, bySigkill), true);
    removeScope(other);
    removeScope(state);
    assert.equal(await cleanup.ranOutOfMemory("a", state, bySigkill), false);
  });

  test("shares no kill with another that ends at the same time", async () => {
    const [one, two, three] = [await started("a"), await started("b"), await started("c")];
    for (const state of [one, two, three]) removeScope(state);
    sliceCounts(2);
    assert.equal(await cleanup.ranOutOfMemory("a", one, bySigkill), true);
    assert.equal(await cleanup.ranOutOfMemory("b", two, bySigkill), true);
    assert.equal(await cleanup.ranOutOfMemory("c", three, bySigkill), false);
  });

  test("did not when it has no limit; the kill belongs to the one that has", async () => {
    const [unlimited, limited] = [await started("a"), await started("b")];
    const config = (id: string, memory: object) => {
      const file = join(root, "state/containers", id, "config.json");
      writeFileSync(file, JSON.stringify({ linux: { resources: { memory } } }));
    };
    config("a", {});
    config("b", { limit: 1024 });
    for (const state of [unlimited, limited]) removeScope(state);
    sliceCounts(1);
    assert.equal(await cleanup.ranOutOfMemory("a", unlimited, bySigkill), false);
    await cleanup.endProcesses(unlimited, 1000);
    assert.equal(await cleanup.ranOutOfMemory("b", limited, bySigkill), true);
  });
});

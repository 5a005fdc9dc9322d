import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, test } from "node:test";
import { silentLogger } from "../../../base/logger.ts";
import type { RuntimeState } from "../runtime-state.ts";
import { StateLayout } from "../state-layout.ts";
import { ContainerCleanup } from "./cleanup.ts";

const slice = "/a.slice";

let root: string;
let remains: ContainerCleanup;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "davit-remains-"));
  const cgroups = { version: "v2", root, controllers: [] } as const;
  remains = new ContainerCleanup(
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

/** A container that starts now. */
async function started(id: string): Promise<RuntimeState> {
  const cgroupPath = `${slice}/cri-containerd-${id}.scope`;
  mkdirSync(join(root, cgroupPath));
  scopeCounts(cgroupPath, 0);
  mkdirSync(join(root, "state/containers", id), { recursive: true });
  const before = await remains.oomKillsBefore(cgroupPath);
  return { runtimePath: "crun", cgroupPath, ...before };
}

function scopeCounts(cgroupPath: string, kills: number): void {
  writeFileSync(join(root, cgroupPath, "memory.events"), `oom_kill ${kills}\n`);
}

/** What systemd does as soon as a scope's last process is gone. */
function drop({ cgroupPath }: RuntimeState): void {
  rmSync(join(root, cgroupPath), { recursive: true });
}

const bySigkill = { exitCode: 137, killed: false };

describe("a container whose scope systemd dropped before anybody read it", () => {
  test("ran out of memory when its slice counts a kill that is nobody's", async () => {
    const facts = await started("a");
    drop(facts);
    sliceCounts(1);
    assert.equal(await remains.ranOutOfMemory("a", facts, { ...bySigkill, exitCode: 1 }), false);
    assert.equal(await remains.ranOutOfMemory("a", facts, bySigkill), true);
  });

  test("did not when davit killed it", async () => {
    const facts = await started("a");
    drop(facts);
    sliceCounts(1);
    assert.equal(await remains.ranOutOfMemory("a", facts, { ...bySigkill, killed: true }), false);
  });

  test("did not when the kill is from before its start, or another's that ended before", async () => {
    sliceCounts(2);
    const facts = await started("a");
    const other = await started("b");
    drop(other);
    sliceCounts(3);
    await remains.endProcesses(other, 1000);
    drop(facts);
    assert.equal(await remains.ranOutOfMemory("a", facts, bySigkill), false);
  });

  test("did not when the kill is that of another whose end was read, and which has gone since", async () => {
    const [facts, other] = [await started("a"), await started("b")];
    scopeCounts(other.cgroupPath, 1);
    sliceCounts(1);
    assert.equal(await remains.ranOutOfMemory("b", other, bySigkill), true);
    drop(other);
    drop(facts);
    assert.equal(await remains.ranOutOfMemory("a", facts, bySigkill), false);
  });

  test("shares no kill with another that ends beside it, and has its own", async () => {
    const [one, two, three] = [await started("a"), await started("b"), await started("c")];
    for (const facts of [one, two, three]) drop(facts);
    sliceCounts(2);
    assert.equal(await remains.ranOutOfMemory("a", one, bySigkill), true);
    assert.equal(await remains.ranOutOfMemory("b", two, bySigkill), true);
    assert.equal(await remains.ranOutOfMemory("c", three, bySigkill), false);
  });

  test("did not when it has no limit, and leaves the kill to the one that has", async () => {
    const [unlimited, limited] = [await started("a"), await started("b")];
    const config = (id: string, memory: object) => {
      const file = join(root, "state/containers", id, "config.json");
      writeFileSync(file, JSON.stringify({ linux: { resources: { memory } } }));
    };
    config("a", {});
    config("b", { limit: 1024 });
    for (const facts of [unlimited, limited]) drop(facts);
    sliceCounts(1);
    assert.equal(await remains.ranOutOfMemory("a", unlimited, bySigkill), false);
    await remains.endProcesses(unlimited, 1000);
    assert.equal(await remains.ranOutOfMemory("b", limited, bySigkill), true);
  });
});

import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, afterEach, describe, test } from "node:test";
import { testMark } from "../../../test/support/belongs.ts";
import { spawnChildInPool } from "../process/child.ts";
import { openFds, until } from "../testing/leaks.ts";
import {
  cgroupProcsPaths,
  countOomKilled,
  createCgroup,
  detectCgroups,
  killCgroup,
  removeCgroup,
  watchOomEvents,
  writeResources,
} from "./index.ts";

const layout = detectCgroups();
const parent = `/${testMark}`;
const cgroup = `${parent}/oom`;
const directory = mkdtempSync(path.join(tmpdir(), "davit-oom-"));
const unified = { version: "v2", root: directory, controllers: ["memory"] } as const;
after(() => rmSync(directory, { recursive: true }));

afterEach(async () => {
  await killCgroup(layout, parent);
  await removeCgroup(layout, parent);
});

/** Starts a shell in the cgroup that stays, whose child needs more memory than the cgroup may have. */
async function killOneIn(of: string): Promise<void> {
  const { exited } = await spawnChildInPool({
    file: "sh",
    args: ["-c", "dd if=/dev/zero of=/dev/null bs=64M count=1 2>/dev/null; exit 7"],
    env: { PATH: "/usr/bin:/bin" },
    cgroupProcsPaths: cgroupProcsPaths(layout, of),
  });
  assert.deepEqual((await exited).code, 7, "the shell lived on");
}

describe("watchOomEvents()", () => {
  test("reports that the kernel kills a process, once for each rearm()", async () => {
    const limit = 16n << 20n;
    await createCgroup(layout, cgroup);
    await writeResources(layout, cgroup, { memoryLimitBytes: limit, memorySwapLimitBytes: limit });
    let events = 0;
    const before = openFds();
    const watch = await watchOomEvents(layout, cgroup, () => {
      events += 1;
    });
    assert.ok(watch !== undefined);
    await killOneIn(cgroup);
    await until("the first event", () => events === 1);
    assert.equal(await countOomKilled(layout, cgroup), 1);
    watch.rearm();
    await killOneIn(cgroup);
    await until("the next event", () => events === 2);
    assert.equal(await countOomKilled(layout, cgroup), 2);
    watch.rearm();
    watch[Symbol.dispose]();
    await killOneIn(cgroup);
    assert.equal(await countOomKilled(layout, cgroup), 3);
    assert.equal(events, 2);
    const kept = [...openFds()].filter(([fd]) => !before.has(fd)).map(([, target]) => target);
    assert.ok(!kept.includes("anon_inode:[eventfd]"), "the eventfd is closed");
  });

  test("is undefined for a cgroup that does not exist", async () => {
    assert.equal(await watchOomEvents(layout, `${parent}/none`, () => undefined), undefined);
    assert.equal(await watchOomEvents(unified, "/none", () => undefined), undefined);
  });

  test("v2: reports a change of memory.events, once for each rearm()", async () => {
    mkdirSync(path.join(directory, "pod"));
    const file = path.join(directory, "pod", "memory.events");
    const change = (): void => writeFileSync(file, "oom 1\noom_kill 2\noom_group_kill 1\n");
    change();
    let events = 0;
    const watch = await watchOomEvents(unified, "/pod", () => {
      events += 1;
    });
    assert.ok(watch !== undefined);
    change();
    await until("the first event", () => events === 1);
    change();
    watch.rearm();
    change();
    await until("the next event", () => events === 2);
    watch.rearm();
    watch[Symbol.dispose]();
    change();
    assert.equal(await countOomKilled(unified, "/pod"), 2);
    assert.equal(events, 2);
  });
});

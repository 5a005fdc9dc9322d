import assert from "node:assert/strict";
import { existsSync, mkdirSync } from "node:fs";
import { afterEach, test } from "node:test";
import { isDeepStrictEqual } from "node:util";

import { testMark } from "../../../test/support/belongs.ts";
import { spawnChildInPool } from "../process/child.ts";
import { childPids, openFds, until } from "../testing/leaks.ts";
import {
  cgroupProcsPaths,
  countOpenFiles,
  createCgroup,
  detectCgroups,
  killCgroup,
  type OpenFiles,
  processDir,
  removeCgroup,
} from "./index.ts";

const layout = detectCgroups();
const parent = `/${testMark}-open`;
const path = `${parent}/container`;
const most = 1000;

afterEach(async () => {
  await killCgroup(layout, parent);
  await removeCgroup(layout, parent);
  await until("our children are reaped", () => childPids().length === 0);
});

/** Starts a process with three descriptors, all the null device, and more by redirections of its shell. */
async function startIn(procsPaths: readonly string[], redirections = ""): Promise<void> {
  const child = await spawnChildInPool({
    file: "sh",
    args: ["-c", `exec ${redirections}; echo; exec sleep 60 >/dev/null`],
    env: { PATH: "/usr/bin:/bin" },
    stdout: "pipe",
    cgroupProcsPaths: procsPaths,
  });
  for await (const _line of child.stdout ?? []) break;
}

async function counted(wanted: OpenFiles, limit = most): Promise<void> {
  const deadline = performance.now() + 10_000;
  let last: OpenFiles | undefined;
  // The shell has just become the sleep: its own descriptors may still be open.
  while (!isDeepStrictEqual(last, wanted) && performance.now() < deadline) {
    [last] = await countOpenFiles([processDir(layout, path)], limit);
  }
  assert.deepEqual(last, wanted);
}

test("countOpenFiles() counts descriptors and sockets of all processes, also in nested cgroups", async () => {
  await createCgroup(layout, path);
  assert.deepEqual(await countOpenFiles([processDir(layout, path)], most), [
    { processes: 0, descriptors: 0, sockets: 0 },
  ]);
  await startIn(cgroupProcsPaths(layout, path), "3</etc/passwd 4</etc/passwd");
  await counted({ processes: 1, descriptors: 5, sockets: 0 });
  const inner = `${path}/inner/most`;
  for (const dir of cgroupProcsPaths(layout, inner)) {
    const directory = dir.replace(/\/cgroup.procs$/, "");
    if (!existsSync(directory)) mkdirSync(directory, { recursive: true });
  }
  await startIn([`${processDir(layout, inner)}/cgroup.procs`]);
  await counted({ processes: 2, descriptors: 8, sockets: 0 });
  // The descriptors of a container can be too many to count, and the processes are counted all the same.
  await counted({ processes: 2, descriptors: 4, sockets: 0 }, 4);
});

test("countOpenFiles() knows sockets, and which cgroups do not exist", async () => {
  await createCgroup(layout, path);
  await spawnChildInPool({
    file: "busybox",
    args: ["nc", "-l", "-p", "7003"],
    env: { PATH: "/usr/bin:/bin" },
    cgroupProcsPaths: cgroupProcsPaths(layout, path),
  });
  await counted({ processes: 1, descriptors: 4, sockets: 1 });
  const fds = openFds().size;
  const found = await countOpenFiles(["/nonexistent", processDir(layout, path)], most);
  assert.deepEqual(found, [undefined, { processes: 1, descriptors: 4, sockets: 1 }]);
  assert.equal(openFds().size, fds);
});

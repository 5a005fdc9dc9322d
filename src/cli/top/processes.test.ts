import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { processesOf } from "./processes.ts";

const id = "ab".repeat(32);

test("processesOf() lists the processes of a container's cgroup and those below it", (t) => {
  const proc = mkdtempSync(path.join(tmpdir(), "davit-proc-"));
  t.after(() => rmSync(proc, { recursive: true }));
  const add = (
    pid: number,
    cgroup: string,
    changes: { name?: string; cmdline?: string } = {},
  ): void => {
    const { name = "sh", cmdline = "sh\0-c\0sleep 1\0" } = changes;
    mkdirSync(path.join(proc, String(pid)));
    const files = {
      cgroup: `3:pids:${cgroup}\n0::/other\n`,
      status: `Name:\t${name}\nState:\tS (sleeping)\nPPid:\t1\nUid:\t1000\t0\t0\t0\nNSpid:\t${pid}\t7\nVmRSS:\t 2048 kB\nThreads:\t3\n`,
      stat: `${pid} (a ) R (b) S 1 1 1 0 -1 0 0 0 0 0 250 50 0 0\n`,
      cmdline,
    };
    for (const [file, text] of Object.entries(files))
      writeFileSync(path.join(proc, String(pid), file), text);
  };
  add(10, `/pod/${id}/init`);
  add(11, `/pod/${id}`, { name: "zombie", cmdline: "" });
  add(12, `/pod/${id}-2`);
  add(13, "/pod");
  add(9, `/pod/${id}/deeper/still`);
  const found = processesOf(id, 10, proc) ?? assert.fail();
  assert.deepEqual(
    found.map(({ pid, command }) => [pid, command]),
    [
      [9, "sh -c sleep 1"],
      [10, "sh -c sleep 1"],
      [11, "[zombie]"],
    ],
  );
  const { innerPid, uid, state, threads, memoryBytes, cpuSeconds, parent } =
    found[1] ?? assert.fail();
  assert.deepEqual(
    { innerPid, uid, state, threads, memoryBytes, cpuSeconds, parent },
    {
      innerPid: 7,
      uid: 1000,
      state: "S",
      threads: 3,
      memoryBytes: 2_097_152,
      cpuSeconds: 3,
      parent: 1,
    },
  );
  assert.equal(processesOf(id, 13, proc), undefined, "a process that is not of the container");
  assert.equal(processesOf(id, 99, proc), undefined, "no such process");
});

/** A disk that is full or read-only: pods and containers can end, and new ones are refused with a clear error. */
import assert from "node:assert/strict";
import { closeSync, openSync, readdirSync, rmSync, statfsSync, statSync, writeSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import type { TestDaemon } from "../support/daemon.ts";
import { isThere } from "../support/snapshot/processes.ts";
import {
  busybox,
  closePod,
  containerStatus,
  createIn,
  EXITED,
  exited,
  listImages,
  logLines,
  Node,
  openPod,
  type Pod,
  pidOf,
  pull,
  RUNNING,
  remove,
  removeImage,
  runIn,
  script,
  start,
  stop,
} from "../support/suites/containers.ts";
import {
  code,
  failsWith,
  launchDaemon,
  leaklessAcross,
  listIds,
  NOTREADY,
  output,
  POD,
  pod as podOf,
  READY,
  removePod,
  runPod,
  runtimeFact,
  statusOf,
  stopPod,
  takenAddresses,
  until,
} from "../support/suites/pods.ts";

let node: Node;
let daemon: TestDaemon;
const served = (): TestDaemon => daemon;

before(async () => {
  node = await Node.startWithBusybox({ diskMiB: 64 });
  daemon = node.daemon;
  await closePod(await openPod(daemon, podOf()));
});
after(() => node[Symbol.asyncDispose]());

/** The disk under root and state, filled to its last byte until disposed of. */
function fullDisk(): Disposable {
  const disk = path.dirname(daemon.paths.root);
  const filler = path.join(disk, "filler");
  const fd = openSync(filler, "w");
  try {
    for (const size of [1 << 20, 4096, 1]) {
      try {
        for (;;) writeSync(fd, Buffer.alloc(size));
      } catch (error) {
        assert.equal((error as NodeJS.ErrnoException).code, "ENOSPC");
      }
    }
  } finally {
    closeSync(fd);
  }
  assert.equal(statfsSync(disk).bavail, 0);
  return {
    [Symbol.dispose]: () => {
      rmSync(filler, { force: true });
    },
  };
}

const onTerm = (exitCode: number): ReturnType<typeof script> =>
  script(`trap "exit ${exitCode}" TERM; while :; do sleep 0.05; done`);
const noRoom = failsWith(code.resourceExhausted);

async function untilRecorded(): Promise<void> {
  await until("all is recorded", async () => {
    return ((await runtimeFact(daemon, "recordsOwed")) as unknown[]).length === 0;
  });
}

/** A pod with a holder, an address and three containers. */
async function busyPod(): Promise<{
  readonly pod: Pod;
  readonly ids: readonly [string, string, string];
}> {
  const pod = await openPod(daemon, podOf({ pid: POD }));
  return { pod, ids: [await runIn(pod, onTerm(7)), await runIn(pod), await runIn(pod)] };
}

describe("a full disk", () => {
  test(
    "does not prevent ends: exits are seen, Stop and Remove work, and records are written when there is space",
    leaklessAcross(served, async () => {
      const { pod, ids } = await busyPod();
      const other = await openPod(daemon, podOf());
      const pid = await pidOf(daemon, ids[0]);
      {
        using _full = fullDisk();
        await assert.rejects(runPod(daemon, podOf()), noRoom);
        process.kill(pid, "SIGTERM");
        const { exitCode, reason, finishedAt } = await exited(daemon, ids[0], 5000);
        assert.deepEqual([exitCode, reason], [7, "Error"]);
        assert.ok(finishedAt > 0n);
        await stop(daemon, ids[1]);
        assert.equal((await containerStatus(daemon, ids[1])).exitCode, 137);
        await remove(daemon, ids[1]);
        await stopPod(daemon, pod.id);
        assert.equal((await statusOf(daemon, pod.id)).state, NOTREADY);
        assert.equal((await containerStatus(daemon, ids[2])).state, EXITED);
        assert.equal((await statusOf(daemon, other.id)).state, READY);
        await removePod(daemon, pod.id);
        assert.deepEqual(await listIds(daemon), [other.id]);
        assert.equal((await takenAddresses(daemon)).length, 1);
      }
      await untilRecorded();
      await daemon.kill9();
      await launchDaemon(daemon);
      assert.deepEqual(await listIds(daemon), [other.id]);
      await closePod(other);
      await closePod(await openPod(daemon, podOf()));
    }),
  );

  for (const how of ["stop", "kill -9"] as const) {
    test(
      `does not keep a daemon from starting after ${how}: what it finds is true, and can be stopped and removed`,
      leaklessAcross(served, async () => {
        const { pod, ids } = await busyPod();
        const other = await openPod(daemon, podOf());
        const otherId = await runIn(other);
        const pids = [await pidOf(daemon, ids[0]), await pidOf(daemon, ids[1])] as const;
        if (how === "stop") await daemon.stop();
        {
          using _full = fullDisk();
          // The daemon knows of this end, but could not record it.
          process.kill(pids[1], "SIGKILL");
          if (how === "kill -9") {
            await exited(daemon, ids[1], 5000);
            await daemon.kill9();
          }
          process.kill(pids[0], "SIGTERM");
          await until("they have ended", () => !pids.some(isThere));
          const from = daemon.lines.length;
          await launchDaemon(daemon);
          if (how === "stop") {
            // SQLite needs space to open a database that was closed properly.
            await daemon.waitForLine(/database is read-only.*disk is full; free space/, from);
            assert.equal(await runtimeFact(daemon, "recordsCanBeWritten"), false);
          }
          assert.equal((await exited(daemon, ids[0], 5000)).exitCode, 7);
          assert.equal((await exited(daemon, ids[1], 5000)).exitCode, 137);
          assert.equal((await containerStatus(daemon, ids[2])).state, RUNNING);
          await assert.rejects(runPod(daemon, podOf()), noRoom);
          await stop(daemon, ids[2]);
          await stopPod(daemon, pod.id);
          await removePod(daemon, pod.id);
          assert.deepEqual(await listIds(daemon), [other.id]);
          assert.equal((await containerStatus(daemon, otherId)).state, RUNNING);
        }
        await untilRecorded();
        assert.equal(await runtimeFact(daemon, "recordsCanBeWritten"), true);
        await daemon.kill9();
        await launchDaemon(daemon);
        assert.deepEqual(await listIds(daemon), [other.id]);
        assert.equal((await containerStatus(daemon, otherId)).state, RUNNING);
        await closePod(other);
      }),
    );
  }

  test(
    "gets space by the removal of an image",
    leaklessAcross(served, async () => {
      const layers = path.join(daemon.paths.root, "layers");
      const used = (): number => statfsSync(layers).bavail;
      {
        using _full = fullDisk();
        await removeImage(daemon, busybox);
        assert.deepEqual(await listImages(daemon), []);
        await until("its layer is removed", () => used() > 100);
        await untilRecorded();
      }
      await daemon.stop();
      await launchDaemon(daemon);
      assert.deepEqual(await listImages(daemon), []);
      await pull(daemon, busybox);
    }),
  );

  test(
    "fails a start with an error that says so, and the container can be removed",
    leaklessAcross(served, async () => {
      const pod = await openPod(daemon, podOf());
      const id = await createIn(pod);
      {
        using _full = fullDisk();
        await assert.rejects(
          start(daemon, id),
          failsWith(code.resourceExhausted, /[Nn]o space|ENOSPC/),
        );
        const status = await containerStatus(daemon, id);
        assert.deepEqual([status.state, status.reason], [EXITED, "StartError"]);
        await remove(daemon, id);
      }
      await closePod(pod);
    }),
  );

  test(
    "under a container's log loses lines and nothing else",
    leaklessAcross(served, async () => {
      const logDirectory = path.join(path.dirname(daemon.paths.root), "logs");
      const pod = await openPod(daemon, podOf({}, { logDirectory }));
      const text = 'trap "exit 5" TERM; while :; do echo line; sleep 0.01; done';
      const id = await runIn(pod, script(text, { logPath: "0.log" }));
      const log = path.join(logDirectory, "0.log");
      const size = (): number => statSync(log).size;
      const recordSize = "2026-12-01T12:00:00.000000000Z stdout F line\n".length;
      const roomInPage = (): number => (4096 - (size() % 4096)) % 4096;
      await until("it writes", () => size() > 0);
      {
        using _full = fullDisk();
        await until("its last page has no room for a record", () => roomInPage() < recordSize);
        assert.equal((await containerStatus(daemon, id)).state, RUNNING);
      }
      const then = size();
      await until("the log grows", () => size() > then);
      await stop(daemon, id, 10);
      assert.equal((await containerStatus(daemon, id)).exitCode, 5);
      assert.deepEqual(new Set(logLines(log).map(({ text }) => text)), new Set(["line"]));
      await closePod(pod);
      rmSync(logDirectory, { recursive: true });
    }),
  );
});

describe("a disk that has become read-only", () => {
  const root = (): string => path.dirname(other.paths.root);
  let own: Node;
  let other: TestDaemon;
  before(async () => {
    own = await Node.startWithBusybox({ diskMiB: 64, stateElsewhere: true });
    other = own.daemon;
  });
  after(() => own[Symbol.asyncDispose]());

  test("does not keep a daemon from starting; its pods live, can be stopped and removed, and stay so", async () => {
    const pod = await openPod(other, podOf({ pid: POD }));
    const ids = [await runIn(pod, onTerm(7)), await runIn(pod)] as const;
    const living = await openPod(other, podOf());
    const livingId = await runIn(living);
    const pid = await pidOf(other, ids[0]);
    await other.stop();
    await output("mount", "-o", "remount,ro", root());
    try {
      process.kill(pid, "SIGTERM");
      await until("it has ended", () => !isThere(pid));
      const from = other.lines.length;
      await launchDaemon(other);
      await other.waitForLine(
        /the file system of root .* is read-only; .*mounted read-write/,
        from,
      );
      await other.waitForLine(/database is read-only/, from);
      assert.equal((await exited(other, ids[0])).exitCode, 7);
      await assert.rejects(
        runPod(other, podOf()),
        failsWith(code.permissionDenied, /file system that can be written/),
      );
      await stop(other, ids[1]);
      await stopPod(other, pod.id);
      await removePod(other, pod.id);
      assert.deepEqual(await listIds(other), [living.id]);
      assert.equal((await containerStatus(other, livingId)).state, RUNNING);
    } finally {
      await output("mount", "-o", "remount,rw", root());
    }
    await until("all is recorded", async () => {
      return ((await runtimeFact(other, "recordsOwed")) as unknown[]).length === 0;
    });
    await other.stop();
    await launchDaemon(other);
    assert.deepEqual(await listIds(other), [living.id]);
    // Files that could not be deleted before are deleted now.
    await until("the roots of removed containers are gone", () => {
      return readdirSync(path.join(other.paths.root, "roots")).join() === livingId;
    });
    await closePod(living);
  });
});

/**
 * Pause, resume and checkpoint in versions 2 and 3 of a shim's task API, the stop of a paused container, and shims that
 * hang or end meanwhile. pause.test.ts has the rest for runc's shim.
 */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { TaskClient } from "../../src/drivers/shim/process/task-client.ts";
import { CheckpointOptionsSchema } from "../../src/gen/containerd/runc/v1/options_pb.ts";
import { Task } from "../../src/gen/containerd/task/v3/task_pb.ts";
import { Status } from "../../src/gen/containerd/v1/types/task_pb.ts";
import { TtrpcClient } from "../../src/wire/ttrpc/index.ts";
import type { TestDaemon } from "../support/daemon.ts";
import { removeSandboxer, makeSandboxer, writeSandboxerScript } from "../support/sandboxer.ts";
import { isThere } from "../support/snapshot/processes.ts";
import { shimOf } from "../support/suites/checkpoints.ts";
import {
  containerStatus,
  EXITED,
  exec,
  exited,
  Node,
  type Pod,
  RUNNING,
  runIn,
  script,
  stop,
} from "../support/suites/containers.ts";
import {
  bare,
  code,
  failsWith,
  isFrozen,
  launchDaemon,
  leakless,
  leaklessAcross,
  parentOf,
  removePod,
  runPod,
  stopPod,
  until,
} from "../support/suites/pods.ts";

let node: Node;
let daemon: TestDaemon;
let directory = "";
let file = "";
const served = (): TestDaemon => daemon;

before(async () => {
  const sandboxer = makeSandboxer();
  ({ directory, file } = sandboxer);
  const runtime_type = "io.containerd.runc.v2";
  // As on a busy node.
  const slow = path.join(directory, "slow-runc");
  const text = '#!/bin/sh\nfor word; do [ "$word" = resume ] && sleep 1; done\nexec runc "$@"\n';
  writeFileSync(slow, text, { mode: 0o755 });
  const handlers = {
    slow: { runtime_type, options: { BinaryName: slow } },
    byCrun: { runtime_type, options: { BinaryName: "crun" } },
    byRunc: { runtime_type, options: { BinaryName: "runc" } },
    bySandboxer: { controller: "shim", runtime_type: sandboxer.program },
  };
  node = await Node.startWithBusybox({ config: { runtime: { handlers } } });
  daemon = node.daemon;
});
after(async () => {
  await node[Symbol.asyncDispose]();
  removeSandboxer(directory);
});

/** Runs a pod of the handler, with a connection of the test's own to its shim. */
async function withTask(
  handler: string,
  use: (task: TaskClient, pod: Pod, id: string) => Promise<void>,
): Promise<void> {
  const config = bare();
  const pod = { daemon, config, id: await runPod(daemon, config, handler) };
  try {
    const wait = "trap 'exit 5' TERM; touch /ready; while :; do sleep 0.05; done";
    const id = await runIn(pod, script(wait));
    await until(
      "it is ready",
      async () => (await exec(daemon, id, ["ls", "/ready"])).exitCode === 0,
    );
    const facts = path.join(daemon.paths.state, "shims/pods", pod.id, "shim.json");
    const { socketPath, version } = JSON.parse(readFileSync(facts, "utf8")) as {
      readonly socketPath: string;
      readonly version: 2 | 3;
    };
    assert.equal(version, handler === "bySandboxer" ? 3 : 2);
    using client = await TtrpcClient.connect(socketPath);
    await use(new TaskClient(client, version), pod, id);
  } finally {
    writeSandboxerScript(file, {});
    await removePod(daemon, pod.id);
  }
}

for (const handler of ["byCrun", "byRunc", "bySandboxer"]) {
  describe(`a task ${handler}`, () => {
    test(
      "is paused, which freezes its cgroup, and resumed",
      leakless(served, () =>
        withTask(handler, async (task, pod, id) => {
          const cgroup = `${parentOf(pod.config)}/${id}`;
          const statusOf = async () => (await task.call(Task.method.state, { id })).status;
          await task.call(Task.method.pause, { id });
          assert.equal(await statusOf(), Status.PAUSED);
          // The freezer of v1 reports FREEZING until each process has got a CPU to stop on.
          await until("its cgroup is frozen", () => isFrozen(cgroup));
          assert.equal((await containerStatus(daemon, id)).state, RUNNING);
          await task.call(Task.method.resume, { id });
          assert.equal(await statusOf(), Status.RUNNING);
          assert.ok(!isFrozen(cgroup));
          assert.equal((await exec(daemon, id, ["true"])).exitCode, 0);
        }),
      ),
    );

    for (const [seconds, exitCode] of [
      [20, 5],
      [0, 137],
    ] as const) {
      test(
        `that is paused is stopped with ${seconds} s of grace`,
        leakless(served, () =>
          withTask(handler, async (task, _pod, id) => {
            await task.call(Task.method.pause, { id });
            await stop(daemon, id, seconds);
            assert.equal((await containerStatus(daemon, id)).exitCode, exitCode);
          }),
        ),
      );
    }

    test(
      "that cannot be paused, resumed or checkpointed reports why, and continues",
      leakless(served, () =>
        withTask(handler, async (task, _pod, id) => {
          await assert.rejects(task.call(Task.method.resume, { id }), /resume|paused/i);
          await assert.rejects(task.call(Task.method.pause, { id: "none" }), /not found|no such/i);
          const value = toBinary(CheckpointOptionsSchema, create(CheckpointOptionsSchema, {}));
          const options = { typeUrl: CheckpointOptionsSchema.typeName, value };
          // No directory can be made there, whether CRIU is installed or not.
          const images = "/proc/none/images";
          await assert.rejects(
            task.call(Task.method.checkpoint, { id, path: images, options }),
            /checkpoint|criu|\/proc\/none/i,
          );
          assert.equal((await exec(daemon, id, ["true"])).exitCode, 0);
        }),
      ),
    );
  });
}

test(
  "a shim that hangs at a pause gets its deadline, and a stop continues without it",
  leakless(served, () =>
    withTask("bySandboxer", async (task, _pod, id) => {
      writeSandboxerScript(file, { Pause: { does: "hang" }, Resume: { does: "hang" } });
      const pause = task.call(Task.method.pause, { id }, { timeoutMs: 50 });
      await assert.rejects(pause, { kind: "deadline-exceeded" });
      writeSandboxerScript(file, { Resume: { does: "hang" } });
      await task.call(Task.method.pause, { id });
      await stop(daemon, id, 20);
      assert.equal((await containerStatus(daemon, id)).exitCode, 5);
    }),
  ),
);

test(
  "a task that another client has paused is resumed by runc's shim, whose runtime takes a second",
  leakless(served, () =>
    withTask("slow", async (task, _pod, id) => {
      await task.call(Task.method.pause, { id });
      await daemon.client.checkpoints.resume({ id });
      // Else its shim would start no command from then on.
      assert.equal((await task.call(Task.method.state, { id })).status, Status.RUNNING);
      assert.equal((await exec(daemon, id, ["true"])).exitCode, 0);
    }),
  ),
);

const pause = (id: string) => daemon.client.checkpoints.pause({ id });
const resume = (id: string) => daemon.client.checkpoints.resume({ id });
const cgroupOf = ({ config }: Pod, id: string): string => `${parentOf(config)}/${id}`;

async function isPaused(id: string): Promise<boolean> {
  return (await containerStatus(daemon, id)).reason === "Paused";
}

describe("a container of a shim that makes its pod, paused by davit", () => {
  const handler = "bySandboxer";

  test(
    "runs no command, stays paused after a restart of the daemon, and runs on",
    leaklessAcross(served, () =>
      withTask(handler, async (_task, pod, id) => {
        await pause(id);
        assert.ok(isFrozen(cgroupOf(pod, id)));
        await pause(id);
        assert.ok(await isPaused(id));
        const refused = failsWith(code.failedPrecondition, /it is paused; resume it with/);
        await assert.rejects(exec(daemon, id, ["true"]), refused);
        await daemon.kill9();
        await launchDaemon(daemon);
        assert.ok(isFrozen(cgroupOf(pod, id)));
        assert.ok(await isPaused(id));
        await resume(id);
        assert.ok(!isFrozen(cgroupOf(pod, id)));
        assert.equal((await exec(daemon, id, ["true"])).exitCode, 0);
      }),
    ),
  );

  for (const [seconds, exitCode] of [
    [20, 5],
    [0, 137],
  ] as const) {
    test(
      `is stopped with ${seconds} s of grace`,
      leakless(served, () =>
        withTask(handler, async (_task, _pod, id) => {
          await pause(id);
          await stop(daemon, id, seconds);
          assert.equal((await containerStatus(daemon, id)).exitCode, exitCode);
        }),
      ),
    );
  }

  test(
    "ends with its pod",
    leakless(served, () =>
      withTask(handler, async (_task, pod, id) => {
        await pause(id);
        await stopPod(daemon, pod.id);
        assert.equal((await containerStatus(daemon, id)).state, EXITED);
      }),
    ),
  );
});

for (const handler of ["byCrun", "byRunc"]) {
  describe(`a paused container whose shim does not work (${handler})`, () => {
    /** Runs `use` while the shim of the pod is stopped. */
    async function whileStopped(pod: Pod, use: () => Promise<void>): Promise<void> {
      const shim = shimOf(pod);
      process.kill(shim, "SIGSTOP");
      try {
        await use();
      } finally {
        if (isThere(shim)) process.kill(shim, "SIGCONT");
      }
    }

    test(
      "is paused and resumed while its shim is stopped, and runs commands afterwards",
      leakless(served, () =>
        withTask(handler, async (_task, pod, id) => {
          await whileStopped(pod, async () => {
            await pause(id);
            assert.ok(isFrozen(cgroupOf(pod, id)));
            await resume(id);
            assert.ok(!isFrozen(cgroupOf(pod, id)));
          });
          assert.equal((await exec(daemon, id, ["true"])).exitCode, 0);
        }),
      ),
    );

    for (const seconds of [20, 0]) {
      test(
        `is stopped with ${seconds} s of grace while its shim is stopped`,
        leakless(served, () =>
          withTask(handler, async (_task, pod, id) => {
            await pause(id);
            await whileStopped(pod, async () => {
              await stop(daemon, id, seconds);
              assert.equal((await containerStatus(daemon, id)).state, EXITED);
            });
          }),
        ),
      );
    }

    test(
      "ends with its pod while its shim is stopped",
      leakless(served, () =>
        withTask(handler, async (_task, pod, id) => {
          await pause(id);
          await whileStopped(pod, async () => {
            await stopPod(daemon, pod.id);
            assert.equal((await containerStatus(daemon, id)).state, EXITED);
          });
        }),
      ),
    );

    test(
      "ends when its shim is killed",
      leakless(served, () =>
        withTask(handler, async (_task, pod, id) => {
          await pause(id);
          process.kill(shimOf(pod), "SIGKILL");
          assert.equal((await exited(daemon, id)).exitCode, 137);
        }),
      ),
    );
  });
}

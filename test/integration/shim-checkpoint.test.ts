/** Checkpoints of containers of runc's shim by its task API, what continues from them, and a shim that fails meanwhile. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, rmSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import type { TestDaemon } from "../support/daemon.ts";
import { HeldCriu } from "../support/held-criu.ts";
import { makeSandboxer, removeSandboxer, writeSandboxerScript } from "../support/sandboxer.ts";
import {
  CheckpointDirectory,
  checkpointContainer,
  checkpointed,
  checkpointNode,
  checkpointPod,
  continuesFrom,
  counter,
  isPaused,
  shimOf,
  stateOf,
} from "../support/suites/checkpoints.ts";
import {
  containerStatus,
  createIn,
  exec,
  exited,
  inPod,
  type Node,
  RUNNING,
  runIn,
  start,
} from "../support/suites/containers.ts";
import {
  code,
  failsWith,
  launchDaemon,
  leakless,
  pod as podOf,
  removePod,
  runPod,
  until,
} from "../support/suites/pods.ts";

let node: Node;
let daemon: TestDaemon;
let directory = "";
let script = "";
const served = (): TestDaemon => daemon;
const checkpoints = new CheckpointDirectory();
const held = new HeldCriu(checkpoints.at("held"), "crun");

before(async () => {
  const sandboxer = makeSandboxer();
  ({ directory, file: script } = sandboxer);
  const runtime_type = "io.containerd.runc.v2";
  const handlers = {
    byCrun: { runtime_type, options: { BinaryName: "crun" } },
    byRunc: { runtime_type, options: { BinaryName: "runc" } },
    // Runs tasks by crun, and fails as the script says.
    faulty: { runtime_type, runtime_path: sandboxer.program, options: { BinaryName: "crun" } },
    held: { runtime_type, options: { BinaryName: held.runtimePath } },
    heldWithout: { path: held.runtimePath },
    bySandboxer: { controller: "shim", runtime_type: sandboxer.program },
  };
  node = await checkpointNode(checkpoints, { handlers });
  daemon = node.daemon;
});
after(async () => {
  await node[Symbol.asyncDispose]();
  removeSandboxer(directory);
  checkpoints[Symbol.dispose]();
});

const restores = (): readonly string[] =>
  readdirSync(path.join(daemon.paths.root, "checkpoints/restores"));

for (const [handler, runtime] of [
  ["byCrun", "crun"],
  ["byRunc", "runc"],
] as const) {
  describe(`a container of the shim with ${runtime}`, () => {
    test(
      "is captured and runs on, or stays paused",
      leakless(served, () =>
        inPod(
          daemon,
          podOf(),
          async (pod) => {
            const id = await runIn(pod, counter());
            const seen = await stateOf(daemon, id);
            const location = checkpoints.at(`${runtime}.tar`);
            await checkpointContainer(daemon, id, location);
            assert.equal((await containerStatus(daemon, id)).state, RUNNING);
            assert.equal(await isPaused(daemon, id), false);
            await continuesFrom(daemon, id, seen);
            rmSync(location);
            await daemon.client.checkpoints.pause({ id });
            await checkpointContainer(daemon, id, location);
            assert.equal(await isPaused(daemon, id), true);
            await daemon.client.checkpoints.resume({ id });
            await continuesFrom(daemon, id, seen);
            rmSync(location);
          },
          handler,
        ),
      ),
    );

    test(
      "is what a container of the same OCI runtime without a shim can continue from",
      leakless(served, async () => {
        const location = checkpoints.at(`${runtime}-moved.tar`);
        const seen = await checkpointed(daemon, handler, location);
        const restored = async (pod: Parameters<typeof createIn>[0]): Promise<void> => {
          const id = await createIn(pod, counter({ image: { image: location } }));
          await start(daemon, id);
          await continuesFrom(daemon, id, seen);
        };
        await inPod(daemon, podOf(), restored, runtime);
        rmSync(location);
      }),
    );
  });
}

test(
  "what cannot be restored is refused by name: a pod and an archive with crun, a sandboxer",
  leakless(served, async () => {
    const location = checkpoints.at("refused.tar");
    await checkpointed(daemon, "byCrun", location);
    await inPod(
      daemon,
      podOf(),
      async (pod) => {
        const id = await runIn(pod, counter());
        const output = checkpoints.make();
        const refused = failsWith(
          code.unimplemented,
          /restores by runc only, not by "crun"; use a handler with/,
        );
        await assert.rejects(checkpointPod(pod, [id], output), refused);
        assert.deepEqual(readdirSync(output), []);
        const create = createIn(pod, counter({ image: { image: location } }));
        const message = /handler "byCrun" runs containers by the shim .* by runc only/;
        await assert.rejects(create, failsWith(code.failedPrecondition, message));
      },
      "byCrun",
    );
    rmSync(location);
    await inPod(
      daemon,
      podOf(),
      async (pod) => {
        const id = await runIn(pod, counter());
        const refused = failsWith(
          code.unimplemented,
          /controller = "shim", whose containers davit does not capture/,
        );
        await assert.rejects(checkpointContainer(daemon, id, location), refused);
        assert.ok(!existsSync(location));
      },
      "bySandboxer",
    );
    assert.deepEqual(restores(), []);
  }),
);

/** What the daemon keeps of captures. */
function captures(): readonly string[] {
  const at = path.join(daemon.paths.root, "checkpoints/captures");
  return existsSync(at) ? readdirSync(at) : [];
}

/** Whether the shim of a container starts commands in it. */
async function startsCommands(id: string): Promise<boolean> {
  return exec(daemon, id, ["true"]).then(
    () => true,
    () => false,
  );
}

describe("a shim that fails at a checkpoint", () => {
  // With all that davit asks of a task.
  const hang = { does: "hang" } as const;
  const silent = { Checkpoint: hang, Pause: hang, Resume: hang, State: hang, Kill: hang };
  const faults = [
    [
      "fails with unimplemented",
      { Checkpoint: { does: "fail", kind: "unimplemented" } },
      code.unimplemented,
      /the shim of the pod has no checkpoints/,
    ],
    [
      "fails with unknown",
      { Checkpoint: { does: "fail", kind: "unknown" } },
      code.unknown,
      /capture container/,
    ],
    [
      "does not answer",
      silent,
      code.deadlineExceeded,
      /capture-memory, .*took longer than 2 s; its shim .*does not answer, .*: allow more time, or stop/,
    ],
    [
      "does not answer about the capture",
      { Checkpoint: hang, Resume: hang },
      code.deadlineExceeded,
      /took longer than 2 s; its shim .*does not answer/,
    ],
    [
      "sends what is not a message",
      { Checkpoint: { does: "say", hex: "ff" } },
      code.unknown,
      /its shim has sent what davit cannot read .*: use a handler with a path/,
    ],
    [
      "answers and has done nothing",
      { Checkpoint: { does: "empty" } },
      code.unknown,
      /has written no images of it: use a handler with a path/,
    ],
  ] as const;
  for (const [name, faulty, expected, message] of faults) {
    test(
      `${name}: the container runs on, and there is no file`,
      leakless(served, () =>
        inPod(
          daemon,
          podOf(),
          async (pod) => {
            const id = await runIn(pod, counter());
            const seen = await stateOf(daemon, id);
            const location = checkpoints.at("failed.tar");
            writeSandboxerScript(script, faulty);
            const request = { containerId: id, location, timeout: 2n };
            const call = daemon.client.runtime.checkpointContainer(request);
            await assert.rejects(call, failsWith(expected, message));
            assert.ok(!existsSync(location));
            assert.deepEqual(captures(), []);
            assert.equal(await isPaused(daemon, id), false);
            writeSandboxerScript(script, {});
            assert.ok(await startsCommands(id), "its shim starts commands");
            await continuesFrom(daemon, id, seen);
          },
          "faulty",
        ),
      ),
    );
  }
});

describe("the shim of runc", () => {
  const checkpoint = (containerId: string, location: string, timeout: bigint) =>
    daemon.client.runtime.checkpointContainer({ containerId, location, timeout });

  for (const handler of ["byCrun", "byRunc"]) {
    test(
      `that was stopped before a checkpoint captures nothing later (${handler})`,
      leakless(served, () =>
        inPod(
          daemon,
          podOf(),
          async (pod) => {
            const id = await runIn(pod, counter());
            const seen = await stateOf(daemon, id);
            const location = checkpoints.at("stopped.tar");
            const shim = shimOf(pod);
            process.kill(shim, "SIGSTOP");
            try {
              const unanswered = failsWith(
                code.deadlineExceeded,
                /its shim \(process \d+\) does not answer/,
              );
              await assert.rejects(checkpoint(id, location, 1n), unanswered);
              assert.equal(await isPaused(daemon, id), false);
              const refused = failsWith(code.failedPrecondition, /has not answered the last/);
              await assert.rejects(checkpoint(id, location, 5n), refused);
              assert.equal(await isPaused(daemon, id), false);
              assert.deepEqual(captures(), []);
            } finally {
              process.kill(shim, "SIGCONT");
            }
            assert.ok(await startsCommands(id), "its shim starts commands");
            await continuesFrom(daemon, id, seen);
            // From the shim's late answer on.
            await until("it is captured again", () =>
              checkpoint(id, location, 10n).then(
                () => true,
                () => false,
              ),
            );
            assert.deepEqual(captures(), []);
            await continuesFrom(daemon, id, seen);
            rmSync(location);
          },
          handler,
        ),
      ),
    );
  }

  for (const [end, name] of [
    ["SIGSTOP", "stopped"],
    ["SIGKILL", "killed"],
  ] as const) {
    test(
      `that is ${name} in the middle of a checkpoint leaves no file and no process of CRIU`,
      leakless(served, () =>
        inPod(
          daemon,
          podOf(),
          async (pod) => {
            const id = await runIn(pod, counter());
            const seen = await stateOf(daemon, id);
            const location = checkpoints.at("middle.tar");
            const shim = shimOf(pod);
            held.hold();
            const call = checkpoint(id, location, 3n);
            call.catch(() => undefined);
            await until("CRIU is in the middle", () => held.isHeld());
            process.kill(shim, end);
            try {
              const expected =
                end === "SIGKILL"
                  ? failsWith(code.failedPrecondition, /shim has ended, and the container with it/)
                  : failsWith(code.deadlineExceeded, /its shim \(process \d+\) does not answer/);
              await assert.rejects(call, expected);
              assert.ok(!existsSync(location));
              assert.deepEqual(captures(), []);
              if (end === "SIGSTOP") assert.equal(await isPaused(daemon, id), false);
            } finally {
              held.release();
              if (end === "SIGSTOP") process.kill(shim, "SIGCONT");
            }
            if (end === "SIGKILL") {
              assert.equal((await exited(daemon, id)).exitCode, 137);
              return;
            }
            assert.ok(await startsCommands(id), "its shim starts commands");
            await continuesFrom(daemon, id, seen);
          },
          "held",
        ),
      ),
    );
  }
});

for (const handler of ["held", "heldWithout"]) {
  test(`a daemon that dies in the middle of a checkpoint: the next one ends CRIU (${handler})`, async () => {
    const config = podOf();
    const pod = { daemon, config, id: await runPod(daemon, config, handler) };
    const id = await runIn(pod, counter());
    const seen = await stateOf(daemon, id);
    held.hold();
    const call = checkpointContainer(daemon, id, checkpoints.at("lost.tar"));
    call.catch(() => undefined);
    await until("CRIU is in the middle", () => held.isHeld());
    await daemon.kill9();
    try {
      await launchDaemon(daemon);
      await continuesFrom(daemon, id, seen);
      assert.equal(await isPaused(daemon, id), false);
    } finally {
      held.release();
      await call.catch(() => undefined);
      await removePod(daemon, pod.id);
    }
    await until("nothing is left", () => captures().length === 0);
  });
}

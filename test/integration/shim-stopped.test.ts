/** runc's shim that is stopped (SIGSTOP) while it restores or captures containers: calls end, and nothing is left. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { constants } from "node:os";
import path from "node:path";
import { isDeepStrictEqual } from "node:util";
import { after, before, describe, test } from "node:test";
import { openProcess } from "../../src/linux/process/index.ts";
import type { TestDaemon } from "../support/daemon.ts";
import { HeldCriu } from "../support/held-criu.ts";
import { patient } from "../support/patience.ts";
import { isThere } from "../support/snapshot/processes.ts";
import {
  CheckpointDirectory,
  checkpointed,
  checkpointNode,
  continuesFrom,
  type CounterState,
  counter,
  isPaused,
  shimOf,
  stateOf,
} from "../support/suites/checkpoints.ts";
import {
  containerStatus,
  CREATED,
  createIn,
  EXITED,
  exited,
  inPod,
  type Node,
  type Pod,
  remove,
  runIn,
  start,
} from "../support/suites/containers.ts";
import {
  code,
  failsWith,
  launchDaemon,
  leakless,
  leaklessAcross,
  pod as podOf,
  removePod,
  runPod,
  until,
} from "../support/suites/pods.ts";

let node: Node;
let daemon: TestDaemon;
let seen: CounterState | undefined;
const served = (): TestDaemon => daemon;
const checkpoints = new CheckpointDirectory();
const held = new HeldCriu(checkpoints.at("held"), "runc");
/** A restore gives up 5 s before. */
const createSeconds = 10;
const location = checkpoints.at("counter.tar");

before(async () => {
  const runtime_type = "io.containerd.runc.v2";
  const handlers = {
    byRunc: { runtime_type, options: { BinaryName: "runc" } },
    held: {
      runtime_type,
      options: { BinaryName: held.runtimePath },
      create_timeout_seconds: createSeconds,
    },
  };
  node = await checkpointNode(checkpoints, { handlers });
  daemon = node.daemon;
  seen = await checkpointed(daemon, "byRunc", location);
});
after(async () => {
  await node[Symbol.asyncDispose]();
  checkpoints[Symbol.dispose]();
});

const restored = (pod: Pod) => createIn(pod, counter({ image: { image: location } }));

/** What is mounted below the daemon's directories of tasks. */
function restoreMounts(): readonly string[] {
  const at = path.join(daemon.paths.state, "shims");
  return readFileSync("/proc/self/mountinfo", "utf8")
    .split("\n")
    .filter((line) => line.split(" ")[4]?.startsWith(at));
}

/** The bundles of tasks. */
const bundles = (): readonly string[] => readdirSync(path.join(daemon.paths.state, "shims/tasks"));

/** The containers that the OCI runtime knows. */
function known(): readonly string[] {
  const at = path.join(daemon.paths.state, "shims/runtime/k8s.io");
  return existsSync(at) ? readdirSync(at) : [];
}

/** What a restore has left outside of its container's record. */
function left(): readonly (readonly string[])[] {
  return [bundles(), known(), restoreMounts()];
}

/** Runs `use` while the shim of a pod is stopped, and then lets it continue, or kills it. Both may find it gone. */
async function whileStopped(
  pod: Pod,
  use: (shim: number) => Promise<void>,
  end: "SIGCONT" | "SIGKILL" = "SIGCONT",
): Promise<void> {
  const shim = openProcess(shimOf(pod));
  assert.ok(shim !== undefined);
  shim.kill(constants.signals.SIGSTOP);
  try {
    await use(shim.pid);
  } finally {
    held.release();
    shim.kill(constants.signals[end]);
    shim.close();
  }
}

const silent = (shim: number): ((error: unknown) => boolean) =>
  failsWith(
    code.deadlineExceeded,
    new RegExp(
      `restore container "[0-9a-f]{64}": .*took longer than 5 s; the shim of its pod \\(process ${shim}\\) does not answer, and was killed .*: create them again`,
    ),
  );

/** The start of a restored container by a caller who waits as long as the handler allows. */
function startOf(containerId: string): Promise<unknown> {
  const timeoutMs = patient(createSeconds * 1000);
  const call = daemon.client.runtime.startContainer({ containerId }, { timeoutMs });
  call.catch(() => undefined);
  return call;
}

describe("a restore whose shim is stopped", () => {
  for (const [name, at] of [
    ["before CRIU has made a process", "pre-restore"],
    ["after the processes run", "post-resume"],
  ] as const) {
    test(
      `${name} ends in the caller's time, and leaves nothing`,
      leakless(served, () =>
        inPod(
          daemon,
          podOf(),
          async (pod) => {
            const id = await restored(pod);
            held.hold(at);
            const call = startOf(id);
            await until("CRIU is in the middle", () => held.isHeld());
            await whileStopped(pod, async (shim) => {
              if (at === "post-resume") held.release();
              await assert.rejects(call, silent(shim));
              assert.deepEqual(left(), [[], [], []]);
              assert.ok(!isThere(shim));
              assert.equal((await containerStatus(daemon, id)).state, EXITED);
            });
            // The pod gets another shim.
            const again = await restored(pod);
            await start(daemon, again);
            await continuesFrom(daemon, again, seen);
          },
          "held",
        ),
      ),
    );
  }

  test(
    "before it has the call: its other containers end with it",
    leakless(served, () =>
      inPod(
        daemon,
        podOf(),
        async (pod) => {
          const neighbour = await runIn(pod, counter());
          const id = await restored(pod);
          await whileStopped(pod, async (shim) => {
            await assert.rejects(startOf(id), silent(shim));
            await exited(daemon, neighbour);
            assert.equal((await containerStatus(daemon, id)).state, EXITED);
          });
          await remove(daemon, neighbour);
          assert.deepEqual(left(), [[], [], []]);
        },
        "held",
      ),
    ),
  );

  for (const end of ["SIGCONT", "SIGKILL"] as const) {
    test(
      `and whose daemon dies: the next one removes it, whatever follows (${end})`,
      leaklessAcross(served, async () => {
        const config = podOf();
        const pod = { daemon, config, id: await runPod(daemon, config, "held") };
        const neighbour = await runIn(pod, counter());
        const id = await restored(pod);
        held.hold();
        const call = startOf(id);
        await until("CRIU is in the middle", () => held.isHeld());
        await whileStopped(
          pod,
          async () => {
            await daemon.kill9();
            await assert.rejects(call);
            await launchDaemon(daemon);
            assert.equal((await containerStatus(daemon, id)).state, CREATED);
            const expected = [[neighbour], [neighbour], []];
            await until("the restore is removed", () => isDeepStrictEqual(left(), expected));
            assert.equal(await isPaused(daemon, neighbour), false);
          },
          end,
        );
        if (end === "SIGKILL") await exited(daemon, neighbour);
        await start(daemon, id);
        await continuesFrom(daemon, id, seen);
        await removePod(daemon, pod.id);
        assert.deepEqual(left(), [[], [], []]);
      }),
    );
  }
});

describe("a checkpoint of a pod whose shim is stopped in the middle", () => {
  for (const end of ["SIGCONT", "SIGKILL"] as const) {
    test(
      `leaves no file and no frozen container, also for the next daemon (${end})`,
      leaklessAcross(served, async () => {
        const output = checkpoints.make();
        const config = podOf();
        const pod = { daemon, config, id: await runPod(daemon, config, "held") };
        const ids = [await runIn(pod, counter()), await runIn(pod, counter())];
        const states = [await stateOf(daemon, ids[0] ?? ""), await stateOf(daemon, ids[1] ?? "")];
        held.hold();
        const request = { podSandboxId: pod.id, outputPath: output, containerIds: ids };
        const call = daemon.client.runtime.checkpointPod(request, { timeoutMs: patient(16_000) });
        call.catch(() => undefined);
        await until("CRIU is in the middle", () => held.isHeld());
        await whileStopped(
          pod,
          async (shim) => {
            const text = `capture container "[0-9a-f]{64}": .*; its shim \\(process ${shim}\\) does not answer, .*: allow more time, or stop the pod`;
            await assert.rejects(call, failsWith(code.deadlineExceeded, new RegExp(text)));
            assert.deepEqual(readdirSync(output), []);
            for (const id of ids) assert.equal(await isPaused(daemon, id), false);
            await daemon.kill9();
            await launchDaemon(daemon);
            for (const id of ids) assert.equal(await isPaused(daemon, id), false);
          },
          end,
        );
        for (const [at, id] of ids.entries()) {
          if (end === "SIGCONT") await continuesFrom(daemon, id, states[at]);
          else await exited(daemon, id);
        }
        await removePod(daemon, pod.id);
        assert.deepEqual([left(), readdirSync(output)], [[[], [], []], []]);
        rmSync(output, { recursive: true });
      }),
    );
  }
});

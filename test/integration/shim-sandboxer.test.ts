/** The shim controller: pods whose sandboxes a sandboxer makes, and every way in which that can fail. */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import type { PodSandboxConfig } from "../../src/gen/runtime/v1/api_pb.ts";
import type { TestDaemon } from "../support/daemon.ts";
import {
  removeSandboxer,
  type SandboxerScript,
  heldEnd,
  writeSandboxer,
  writeSandboxerScript,
} from "../support/sandboxer.ts";
import { readProcesses } from "../support/snapshot/processes.ts";
import {
  exec,
  exited,
  Node,
  type Pod,
  RUNNING,
  containerStatus,
  runIn,
  script,
  sh,
} from "./containers.ts";
import {
  bare,
  infoOf,
  launchDaemon,
  leakless,
  leaklessAcross,
  NOTREADY,
  pod as podOf,
  READY,
  removePod,
  runPod,
  statusOf,
  stopPod,
  until,
} from "./pods.ts";

let node: Node;
let daemon: TestDaemon;
let folder = "";
let file = "";
const served = (): TestDaemon => daemon;

before(async () => {
  folder = mkdtempSync(path.join(tmpdir(), "davit-sb-"));
  file = path.join(folder, "script.json");
  const program = path.join(folder, "sandboxer");
  writeSandboxer(program, file);
  const handlers = {
    sandboxer: { controller: "shim", runtime_type: program },
    debian: { controller: "shim", runtime_type: "io.containerd.runc.v2" },
  };
  node = await Node.startWithBusybox({ config: { runtime: { handlers } } });
  daemon = node.daemon;
  const warm = await runPod(daemon, podOf());
  await removePod(daemon, warm);
});
after(async () => {
  await node[Symbol.asyncDispose]();
  removeSandboxer(folder);
});

/** A pod of the sandboxer; the script is empty before and after. */
async function inSandbox(
  config: PodSandboxConfig,
  use: (pod: Pod) => Promise<void>,
): Promise<void> {
  writeSandboxerScript(file, {});
  const id = await runPod(daemon, config, "sandboxer");
  try {
    await use({ daemon, id, config });
  } finally {
    writeSandboxerScript(file, {});
    await removePod(daemon, id);
  }
}

const now = (): bigint => BigInt(Date.now()) * 1_000_000n;
const says = (answers: SandboxerScript): void => writeSandboxerScript(file, answers);
const isThere = (pid: number): boolean => readProcesses().some((each) => each.pid === pid);

/** Empty for a process that has ended meanwhile. */
function commandOf(pid: number): readonly string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
  } catch {
    return [];
  }
}

/** The shim of the pod: the only one that serves its id. */
function sandboxerOf(id: string): number {
  const found = readProcesses().find(({ pid }) => {
    const words = commandOf(pid);
    return words.includes(id) && words.includes("serve");
  });
  assert.ok(found !== undefined, "there is a sandboxer");
  return found.pid;
}

test(
  "a command that starts after its caller gave it up is ended",
  leakless(served, () =>
    inSandbox(bare(), async (pod) => {
      const id = await runIn(pod);
      says({ Start: { does: "held" } });
      await assert.rejects(exec(daemon, id, ["sleep", "54321"], 1), /took longer than 1 s/);
      const runs = (): boolean =>
        readProcesses().some((each) => commandOf(each.pid).includes("54321"));
      assert.ok(!runs(), "it has not started yet");
      says({});
      await until("it is started", () => heldEnd(file, "Start") !== undefined);
      assert.equal(heldEnd(file, "Start"), "done");
      await until("it is ended", () => !runs());
    }),
  ),
);

test(
  "a pod lives its life, with a network and containers, and leaves nothing",
  leakless(served, () =>
    inSandbox(podOf(), async (pod) => {
      const status = await statusOf(daemon, pod.id);
      assert.deepEqual([status.state, status.runtimeHandler], [READY, "sandboxer"]);
      assert.ok(status.createdAt > now() - 30_000_000_000n && status.createdAt <= now());
      const info = await infoOf(daemon, pod.id);
      assert.ok(typeof info["pid"] === "number" && isThere(info["pid"]));
      const id = await runIn(pod);
      const address = await sh(daemon, id, "ip -o -4 address show eth0");
      assert.ok(address.includes(status.network?.ip ?? "none"), address);
      await exited(daemon, await runIn(pod, script("exit 0")));
      await stopPod(daemon, pod.id);
      assert.equal((await statusOf(daemon, pod.id)).state, NOTREADY);
      assert.ok(!isThere(info["pid"]));
    }),
  ),
);

describe("PodSandboxStatus of a sandboxer that", () => {
  const cases: readonly (readonly [what: string, answers: SandboxerScript, state: number])[] = [
    ["does not know the sandbox", { SandboxStatus: { does: "fail", kind: "not-found" } }, NOTREADY],
    ["fails", { SandboxStatus: { does: "fail", kind: "internal" } }, READY],
    ["answers with an empty message", { SandboxStatus: { does: "empty" } }, NOTREADY],
    ["is slow", { SandboxStatus: { does: "late" } }, READY],
    ["hangs", { SandboxStatus: { does: "hang" } }, READY],
    ["dies at it", { SandboxStatus: { does: "die" } }, NOTREADY],
  ];
  for (const [what, answers, state] of cases) {
    test(
      `${what} is an answer: ${state === READY ? "ready" : "not ready"}, with a true time`,
      leakless(served, () =>
        inSandbox(bare(), async ({ id }) => {
          const before = await statusOf(daemon, id);
          says(answers);
          // An answer is told again for a second.
          const status = await until("it is asked", async () => {
            const one = await statusOf(daemon, id);
            return one.state === state ? one : undefined;
          });
          assert.ok(status.createdAt > 0n && status.createdAt <= now());
          assert.equal(status.metadata?.uid, before.metadata?.uid);
        }),
      ),
    );
  }
});

describe("a sandbox", () => {
  test(
    "is not ready when its own process ends",
    leakless(served, () =>
      inSandbox(bare(), async ({ id }) => {
        const { pid } = await infoOf(daemon, id);
        process.kill(Number(pid), "SIGKILL");
        await until("it is not ready", async () => (await statusOf(daemon, id)).state === NOTREADY);
      }),
    ),
  );

  test(
    "is not ready when its shim is killed; its containers have ended then",
    leakless(served, () =>
      inSandbox(bare(), async (pod) => {
        const id = await runIn(pod);
        const { pid } = await infoOf(daemon, pod.id);
        process.kill(sandboxerOf(pod.id), "SIGKILL");
        await until(
          "it is not ready",
          async () => (await statusOf(daemon, pod.id)).state === NOTREADY,
        );
        await exited(daemon, id);
        await removePod(daemon, pod.id);
        assert.ok(!isThere(Number(pid)));
      }),
    ),
  );

  for (const method of ["StopSandbox", "ShutdownSandbox"]) {
    for (const fault of ["hang", "die"] as const) {
      test(
        `whose sandboxer ${fault}s at ${method} goes all the same`,
        leakless(served, () =>
          inSandbox(bare(), async ({ id }) => {
            const { pid } = await infoOf(daemon, id);
            says({ [method]: { does: fault } });
            await stopPod(daemon, id);
            await removePod(daemon, id);
            assert.ok(!isThere(Number(pid)));
          }),
        ),
      );
    }
  }

  for (const method of ["CreateSandbox", "StartSandbox"]) {
    test(
      `whose ${method} fails leaves nothing`,
      leakless(served, async () => {
        for (const answers of [
          { [method]: { does: "fail", kind: "internal" } },
          { [method]: { does: "die" } },
        ] as const) {
          says(answers);
          await assert.rejects(runPod(daemon, bare(), "sandboxer"), /./);
        }
        says({});
      }),
    );
  }

  test(
    "outlives the daemon with its containers",
    leaklessAcross(served, () =>
      inSandbox(bare(), async (pod) => {
        const id = await runIn(pod);
        await daemon.kill9();
        await launchDaemon(daemon);
        assert.equal((await statusOf(daemon, pod.id)).state, READY);
        assert.equal((await containerStatus(daemon, id)).state, RUNNING);
        assert.equal((await exec(daemon, id, ["true"])).exitCode, 0);
      }),
    ),
  );

  test(
    "whose sandboxer hangs during a restart is known as it was, and keeps nobody waiting",
    leaklessAcross(served, () =>
      inSandbox(bare(), (stuck) =>
        inSandbox(bare(), async (other) => {
          const ids = [await runIn(stuck), await runIn(other)] as const;
          const shim = sandboxerOf(stuck.id);
          process.kill(shim, "SIGSTOP");
          await daemon.kill9();
          await launchDaemon(daemon);
          assert.equal((await exec(daemon, ids[1], ["true"])).exitCode, 0);
          for (const { id } of [stuck, other]) {
            assert.equal((await statusOf(daemon, id)).state, READY);
          }
          await exited(daemon, await runIn(other, script("exit 0")));
          assert.equal((await containerStatus(daemon, ids[0])).state, RUNNING);
          process.kill(shim, "SIGCONT");
          await until("it is taken up", async () => {
            const answer = await exec(daemon, ids[0], ["true"]).catch(() => undefined);
            return answer?.exitCode === 0;
          });
        }),
      ),
    ),
  );

  test(
    "whose sandboxer hangs for good is stopped and removed, with all that it started",
    leakless(served, () =>
      inSandbox(bare(), async ({ id }) => {
        const shim = sandboxerOf(id);
        const { pid } = await infoOf(daemon, id);
        process.kill(shim, "SIGSTOP");
        await stopPod(daemon, id);
        await removePod(daemon, id);
        assert.ok(!isThere(shim) && !isThere(Number(pid)));
      }),
    ),
  );

  test(
    "whose shim was killed while there was no daemon is not ready",
    leaklessAcross(served, () =>
      inSandbox(bare(), async (pod) => {
        const shim = sandboxerOf(pod.id);
        await daemon.kill9();
        process.kill(shim, "SIGKILL");
        await launchDaemon(daemon);
        assert.equal((await statusOf(daemon, pod.id)).state, NOTREADY);
      }),
    ),
  );

  test(
    "of runc's shim, whose sandbox API says nothing, is truthfully not ready",
    leakless(served, async () => {
      const id = await runPod(daemon, bare(), "debian");
      const status = await until("it is not ready", async () => {
        const one = await statusOf(daemon, id);
        return one.state === NOTREADY ? one : undefined;
      });
      assert.ok(status.createdAt > 0n);
      await removePod(daemon, id);
    }),
  );
});

/** The shim controller: pods whose sandboxes a sandboxer makes, and all of their failures. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, readFileSync, rmSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { create, type DescMessage, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import {
  PlatformResponseSchema,
  SandboxMetricsResponseSchema,
  StartSandboxResponseSchema,
} from "../../src/gen/containerd/runtime/sandbox/v1/sandbox_pb.ts";
import { MetricsSchema } from "../../src/gen/io/containerd/cgroups/v2/metrics_pb.ts";
import type { PodSandboxConfig } from "../../src/gen/runtime/v1/api_pb.ts";
import type { TestDaemon } from "../support/daemon.ts";
import {
  removeSandboxer,
  type SandboxerScript,
  heldEnd,
  leftBy,
  makeSandboxer,
  writeSandboxerScript,
} from "../support/sandboxer.ts";
import { isThere, readProcesses } from "../support/snapshot/processes.ts";
import {
  createIn,
  exec,
  exited,
  inPod,
  Node,
  type Pod,
  RUNNING,
  containerStatus,
  runIn,
  script,
  sh,
  start,
} from "../support/suites/containers.ts";
import {
  bare,
  cgroupDirectories,
  code,
  failsWith,
  infoOf,
  launchDaemon,
  leakless,
  leaklessAcross,
  NODE,
  NOTREADY,
  parentOf,
  POD,
  pod as podOf,
  READY,
  removePod,
  runPod,
  statusOf,
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
  const handlers = {
    sandboxer: { controller: "shim", runtime_type: sandboxer.program },
    debian: { controller: "shim", runtime_type: "io.containerd.runc.v2" },
  };
  node = await Node.startWithBusybox({ config: { runtime: { handlers } } });
  daemon = node.daemon;
  const warm = await runPod(daemon, podOf());
  await removePod(daemon, warm);
});
after(async () => {
  await node[Symbol.asyncDispose]();
  removeSandboxer(directory);
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
const setAnswers = (answers: SandboxerScript): void => writeSandboxerScript(file, answers);

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
  "a command that starts after its caller cancelled it is ended",
  leakless(served, () =>
    inSandbox(bare(), async (pod) => {
      const id = await runIn(pod);
      setAnswers({ Start: { does: "held" } });
      await assert.rejects(exec(daemon, id, ["sleep", "54321"], 1), /took longer than 1 s/);
      const runs = (): boolean =>
        readProcesses().some((each) => commandOf(each.pid).includes("54321"));
      assert.ok(!runs(), "it has not started yet");
      setAnswers({});
      await until("it is started", () => heldEnd(file, "Start") !== undefined);
      assert.equal(heldEnd(file, "Start"), "done");
      await until("it is ended", () => !runs());
    }),
  ),
);

test(
  "a pod runs with a network and containers, and leaves nothing",
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
          setAnswers(answers);
          // An answer is returned again for a second.
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

const hexOf = <S extends DescMessage>(schema: S, message: MessageInitShape<S>): string =>
  Buffer.from(toBinary(schema, create(schema, message))).toString("hex");

/** The answer of a sandboxer whose sandbox runs this. */
const platform = (os: string, architecture = "amd64"): SandboxerScript => ({
  Platform: { does: "say", hex: hexOf(PlatformResponseSchema, { platform: { os, architecture } }) },
});

/** How a sandboxer reports this usage, by a type of this name. */
function metrics(value: MessageInitShape<typeof MetricsSchema>, typeUrl: string): SandboxerScript {
  const data = { typeUrl, value: toBinary(MetricsSchema, create(MetricsSchema, value)) };
  const hex = hexOf(SandboxMetricsResponseSchema, { metrics: { data } });
  return { SandboxMetrics: { does: "say", hex } };
}

describe("the platform of a sandbox", () => {
  test(
    "is in its verbose status, also after a restart of the daemon",
    leaklessAcross(served, () =>
      inSandbox(bare(), async ({ id }) => {
        const platformInfo = { os: "linux", architecture: "amd64" };
        assert.deepEqual((await infoOf(daemon, id))["platform"], platformInfo);
        await daemon.kill9();
        await launchDaemon(daemon);
        assert.deepEqual((await infoOf(daemon, id))["platform"], platformInfo);
      }),
    ),
  );

  test(
    "that is not linux is refused by name, and nothing is left of it",
    leakless(served, async () => {
      setAnswers(platform("windows"));
      await assert.rejects(runPod(daemon, bare(), "sandboxer"), /runs "windows".*for linux/);
      setAnswers({});
    }),
  );

  const quiet: readonly (readonly [what: string, answers: SandboxerScript])[] = [
    ["empty", { Platform: { does: "empty" } }],
    ["of no name", platform("", "")],
    ["unimplemented", { Platform: { does: "fail", kind: "unimplemented" } }],
    ["unknown there", { Platform: { does: "fail", kind: "not-found" } }],
    ["garbage", { Platform: { does: "say", hex: "ffffff" } }],
    ["never reported", { Platform: { does: "hang" } }],
  ];
  for (const [what, answers] of quiet) {
    test(
      `that is ${what} counts as the host's`,
      leakless(served, async () => {
        setAnswers(answers);
        const id = await runPod(daemon, bare(), "sandboxer");
        const { platform: reported, processStatus } = await infoOf(daemon, id);
        assert.deepEqual([reported, processStatus], [undefined, "running"]);
        await exited(daemon, await runIn({ daemon, id, config: bare() }, script("exit 0")));
        setAnswers({});
        await removePod(daemon, id);
      }),
    );
  }
});

describe("PodSandboxStats of a sandboxer that", () => {
  const usageOf = async (podSandboxId: string): Promise<readonly (bigint | undefined)[]> => {
    const { stats } = await daemon.client.runtime.podSandboxStats({ podSandboxId });
    const { cpu, memory, process: tasks } = stats?.linux ?? {};
    return [
      cpu?.usageCoreNanoSeconds?.value,
      memory?.workingSetBytes?.value,
      tasks?.processCount?.value,
    ];
  };

  test(
    "reports are its own, and those of the cgroup for missing values",
    leakless(served, () =>
      inSandbox(bare(), async ({ id }) => {
        const memory = { usage: 9_000_000_000_000n, inactiveFile: 1_000_000_000_000n };
        const cpu = { usageUsec: 5_000_000_000_000n };
        setAnswers(metrics({ cpu, memory }, MetricsSchema.typeName));
        const [cpuNs, workingSet, tasks] = await until("it is asked", async () => {
          const usage = await usageOf(id);
          return usage[0] === 5_000_000_000_000_000n ? usage : undefined;
        });
        assert.equal(cpuNs, 5_000_000_000_000_000n);
        assert.equal(workingSet, 8_000_000_000_000n);
        // A sandbox without containers has no process in its cgroup.
        assert.equal(tasks, 0n);
        const { stats } = await daemon.client.runtime.listPodSandboxStats({});
        const listed = stats.find(({ attributes }) => attributes?.id === id);
        assert.equal(listed?.linux?.cpu?.usageCoreNanoSeconds?.value, 5_000_000_000_000_000n);
      }),
    ),
  );

  const useless: readonly (readonly [what: string, answers: SandboxerScript])[] = [
    ["answers with an empty message", { SandboxMetrics: { does: "empty" } }],
    ["does not know the call", { SandboxMetrics: { does: "fail", kind: "unimplemented" } }],
    ["sends an invalid answer", { SandboxMetrics: { does: "say", hex: "ffffff" } }],
    ["reports by an unknown type", metrics({ cpu: { usageUsec: 5n } }, "example.org/Usage")],
    ["hangs", { SandboxMetrics: { does: "hang" } }],
  ];
  for (const [what, answers] of useless) {
    test(
      `${what} are those of the pod's cgroup`,
      leakless(served, () =>
        inSandbox(bare(), async (pod) => {
          setAnswers(answers);
          await runIn(pod, script("while :; do sleep 0.01; done"));
          const [cpuNs, workingSet, tasks] = await until("there are any", async () => {
            const usage = await usageOf(pod.id);
            return (usage[0] ?? 0n) > 0n && (usage[2] ?? 0n) > 0n ? usage : undefined;
          });
          assert.ok((cpuNs ?? 0n) < 5_000_000_000_000_000n);
          assert.ok((workingSet ?? 0n) > 0n && (tasks ?? 0n) >= 1n);
        }),
      ),
    );
  }
});

test(
  "a sandbox without a PID namespace of its own shows no container the node's processes",
  leakless(served, async () => {
    const sleeper = spawn("sleep", ["100000"], { stdio: "ignore" });
    try {
      const { pid = 0 } = sleeper;
      setAnswers({
        StartSandbox: { does: "say", hex: hexOf(StartSandboxResponseSchema, { pid }) },
      });
      const config = podOf({ network: NODE, ipc: NODE, pid: POD });
      const id = await runPod(daemon, config, "sandboxer");
      const made = await createIn({ daemon, id, config });
      await assert.rejects(
        start(daemon, made),
        failsWith(code.failedPrecondition, /processes of the node/),
      );
      const { reason, message } = await containerStatus(daemon, made);
      assert.equal(reason, "StartError");
      assert.match(message, /shareProcessNamespace/);
      // One with a PID namespace of its own runs.
      await exited(daemon, await runIn({ daemon, id, config: bare() }, script("exit 0")));
      setAnswers({});
      await removePod(daemon, id);
    } finally {
      sleeper.kill("SIGKILL");
    }
  }),
);

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
    "is not ready when its shim is killed, and its containers are exited",
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
        `whose sandboxer ${fault}s at ${method} is removed nevertheless`,
        leakless(served, () =>
          inSandbox(bare(), async ({ id }) => {
            const { pid } = await infoOf(daemon, id);
            setAnswers({ [method]: { does: fault } });
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
          setAnswers(answers);
          await assert.rejects(runPod(daemon, bare(), "sandboxer"), /./);
        }
        setAnswers({});
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
    "whose sandboxer hangs during a restart keeps its recorded state, and delays no other call",
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
          await until("it is adopted", async () => {
            const answer = await exec(daemon, ids[0], ["true"]).catch(() => undefined);
            return answer?.exitCode === 0;
          });
        }),
      ),
    ),
  );

  test(
    "whose sandboxer hangs forever is stopped and removed, with everything that it started",
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

  /** How a sandboxer leaves a daemon of its own behind. */
  const daemons: readonly (readonly [where: string, procs: (directory: string) => string])[] = [
    ["its own cgroup", () => ""],
    ["the pod's cgroup", (directory) => path.join(directory, "cgroup.procs")],
  ];
  for (const [where, procs] of daemons) {
    for (const ends of ["stops", "hangs", "is dead"] as const) {
      test(
        `whose sandboxer has left a daemon in ${where} and ${ends} goes with it`,
        leakless(served, async () => {
          const config = bare();
          const [directory = ""] = cgroupDirectories(parentOf(config)).filter((each) =>
            /\/(memory|unified)\//.test(`${each}/`),
          );
          rmSync(`${file}.left`, { force: true });
          setAnswers({ Platform: { does: "leave", procs: procs(directory) } });
          const id = await runPod(daemon, config, "sandboxer");
          const left = await until("it is left", () => leftBy(file));
          assert.ok(isThere(left));
          setAnswers({});
          const shim = sandboxerOf(id);
          if (ends === "hangs") process.kill(shim, "SIGSTOP");
          if (ends === "is dead") process.kill(shim, "SIGKILL");
          await stopPod(daemon, id);
          // A sandboxer that lives may need it until it is shut down.
          assert.equal(isThere(left), ends === "stops");
          await removePod(daemon, id);
          assert.ok(!isThere(left) && !isThere(shim));
        }),
      );
    }
  }

  test(
    "does not touch a cgroup that another pod uses, too",
    leakless(served, async () => {
      const config = bare();
      const [directory = ""] = cgroupDirectories(parentOf(config));
      setAnswers({});
      await inPod(daemon, config, async (other) => {
        const container = await runIn(other);
        const linux = { cgroupParent: parentOf(config) };
        const id = await runPod(daemon, bare({ linux }), "sandboxer");
        process.kill(sandboxerOf(id), "SIGKILL");
        await removePod(daemon, id);
        assert.equal((await containerStatus(daemon, container)).state, RUNNING);
        assert.ok(existsSync(directory));
      });
    }),
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
    "of runc's shim, whose sandbox API reports nothing, is not ready",
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

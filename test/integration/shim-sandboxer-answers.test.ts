/** The shim controller: what it makes of a sandboxer's status, platform and metrics, the failed ones included. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import {
  PlatformResponseSchema,
  SandboxMetricsResponseSchema,
} from "../../src/gen/containerd/runtime/sandbox/v1/sandbox_pb.ts";
import { MetricsSchema } from "../../src/gen/io/containerd/cgroups/v2/metrics_pb.ts";
import type { SandboxerScript } from "../support/sandboxer.ts";
import { exited, runIn, script } from "../support/suites/containers.ts";
import {
  bare,
  infoOf,
  launchDaemon,
  leakless,
  leaklessAcross,
  NOTREADY,
  READY,
  removePod,
  runPod,
  statusOf,
  until,
} from "../support/suites/pods.ts";
import {
  daemon,
  hexOf,
  inSandbox,
  now,
  served,
  serveSandboxer,
  setAnswers,
} from "../support/suites/sandboxer.ts";

serveSandboxer();

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

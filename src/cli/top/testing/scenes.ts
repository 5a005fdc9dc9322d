// Scenes of the screen for tests.
import { ContainerState, PodSandboxState } from "../../../gen/runtime/v1/api_pb.ts";
import { createTerminal } from "../../output/terminal.ts";
import type { Size } from "../cells.ts";
import type { Drawing } from "../columns.ts";
import { podRows, selectRows } from "../rows.ts";
import type { Sample } from "../sample.ts";
import { flatten, initialState, settle, type TopState } from "../state.ts";
import { symbolsFor } from "../symbols.ts";
import { UsageHistory } from "../usage.ts";
import { frame, type Scene } from "../view.ts";
import { container, end, nowMs, pod, quietNode, sample, stats } from "./samples.ts";

/** A node with pods in several states, and operations in progress. */
export const busyNode: Sample = sample({
  pods: [
    pod("p1", "default/web"),
    pod("p2", "kube-system/dns"),
    pod("p3", "default/job", { state: PodSandboxState.SANDBOX_NOTREADY }),
    pod("p4", "default/日本語"),
  ],
  containers: [
    container("nginx", "p1"),
    container("logger", "p1", { attempt: 4 }),
    container("dns", "p2"),
    container("main", "p3", { state: ContainerState.CONTAINER_EXITED }),
    container("🚀", "p4"),
  ],
  stats: [
    stats("nginx", { cpuMs: 1_250, memory: 48, limit: 64 }),
    stats("logger", { cpuMs: 20, memory: 12, limit: 32 }),
    stats("dns", { cpuMs: 4, memory: 12 }),
    stats("🚀", { cpuMs: 0, memory: 3, limit: 4 }),
  ],
  ends: new Map([["main", end(3)]]),
  node: {
    ...quietNode,
    activity: {
      inflight: [
        {
          operation: "run-pod-sandbox",
          subject: "x_kube-system_1234_0",
          startedMs: nowMs - 9_200,
          tookMs: 9_200,
          stages: [{ stage: "add-network", atMs: 20, detail: undefined }],
          detail: "calico",
          error: undefined,
        },
      ],
      failures: [
        {
          operation: "start-container",
          subject: "c".repeat(64),
          startedMs: nowMs - 60_000,
          tookMs: 80,
          stages: [],
          error: "no such file",
        },
      ],
      pulls: new Map([
        [
          "docker.io/library/big:1",
          [{ digest: "sha256:aa", sizeBytes: 2e6, fetchedBytes: 1e6, state: "fetching" }],
        ],
      ]),
    },
  },
});

/** Half a minute of samples that end with this one, in which each container used its CPU evenly. */
export function usageOf(last: Sample): UsageHistory {
  const usage = new UsageHistory();
  for (let secondsLeft = 30; secondsLeft >= 0; secondsLeft -= 1) {
    const atMs = last.atMs - secondsLeft * 1_000;
    const past = last.stats.map((each) => {
      const used = Number(each.cpu?.usageCoreNanoSeconds?.value ?? 0n) / 1e6;
      const memory = Number(each.memory?.workingSetBytes?.value ?? 0n) / 1e6;
      const available = each.memory?.availableBytes;
      const limit =
        available === undefined ? {} : { limit: memory + Number(available.value) / 1e6 };
      return stats(each.attributes?.id ?? "", {
        cpuMs: used * (31 - secondsLeft),
        atMs,
        memory,
        ...limit,
      });
    });
    usage.add(past, atMs);
  }
  return usage;
}

/** A scene of a sample: the screen with this state. */
export function sceneOf(last: Sample, changes: Partial<TopState> = {}): Scene {
  const pods = podRows(last, usageOf(last));
  const state = { ...initialState, sort: "name" as const, ...changes };
  const rows = flatten(selectRows(pods, state), state.open);
  const machine = { name: "kube-7", cpus: 8, memoryBytes: 32e9 };
  const facts = { server: "davit 0.1.0", machine, pods };
  const settled = settle(state, { rows, height: 20, screen: 24 }, rows);
  return { sample: last, facts, rows, state: settled, banner: undefined, message: undefined };
}

/** How a scene is drawn: without colors in ASCII, unless the locale or `isTTY` says otherwise. */
export function drawingOf(
  { state, sample: { atMs } }: Scene,
  { locale = "C", isTTY = false }: { readonly locale?: string; readonly isTTY?: boolean } = {},
): Drawing {
  const output = { isTTY, write: () => undefined };
  const { style } = createTerminal(output, output, {});
  return { style, symbols: symbolsFor({ LANG: locale }), nowMs: atMs, open: state.open };
}

/** The frame of a scene without trailing spaces. */
export function frameOf(scene: Scene, size: Size, locale = "C"): readonly string[] {
  return frame(scene, size, drawingOf(scene, { locale })).map((line) => line.trimEnd());
}

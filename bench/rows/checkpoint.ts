/**
 * The cold start of a program with 350 MB in memory beside its warm start from a snapshot, and what several of them have
 * in memory. davit alone: containerd restores no pods.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Davit, type Pod } from "../../src/sdk/index.ts";
import { nodeRoot } from "../../test/support/node-root.ts";
import type { Bench, Row, RowGroup } from "../row.ts";

const image = "bench.local/node:1";
const copies = 4;
const mib = 1024 * 1024;
const restMs = 200;

/**
 * Needs a second until it has its table, and then counts in its log. NOTE(criu): it has no TCP socket, since CRIU 4.1
 * cannot capture one on Linux 6.16 and newer, where SO_PASSCRED is an option of unix sockets only.
 */
const program = `
const table = new Map();
for (let n = 0; n < 1_200_000; n++) table.set("key " + n, { n, text: "value of " + n });
let count = 0;
setInterval(() => console.log(++count + " " + table.get("key 1199999").n), 20);
`;

const options = {
  command: ["/bin/node", "-e", program],
  ready: { log: /^\d+ 1199999$/ },
  graceSeconds: 0,
} as const;

export const checkpoint: RowGroup = { name: "checkpoint", measure };

async function measure(bench: Bench): Promise<readonly Row[]> {
  if (spawnSync("criu", ["--version"]).error !== undefined) return [];
  const directory = mkdtempSync(path.join(tmpdir(), "davit-bench-node-"));
  try {
    await using davit = await Davit.connect({ endpoint: bench.davit.server.socket });
    const [loaded] = await davit.load({ rootfs: nodeRoot(directory), tag: image });
    const rows = await measureWith(davit, bench);
    await loaded?.remove();
    return rows;
  } finally {
    rmSync(directory, { recursive: true });
  }
}

async function measureWith(davit: Davit, bench: Bench): Promise<readonly Row[]> {
  const [cold, taken, warm]: [number[], number[], number[]] = [[], [], []];
  const rounds = Math.max(10, Math.ceil(bench.rounds / 5));
  for (let round = 0; round < rounds; round++) {
    bench.say(`round ${round + 1} of ${rounds}`);
    await using pod = await timedResult(cold, () => davit.run(image, options));
    await using snapshot = await timedResult(taken, () => pod.snapshot());
    await sleep(restMs);
    const { ready } = options;
    await using restored = await timedResult(warm, () => davit.restore(snapshot, { ready }));
    assert.ok((await firstCount(restored)) > 1, "the restored program continues");
    await sleep(restMs);
  }
  const memory = await memoryOfCopies(davit, bench);
  return [
    {
      title: "a Node.js program of 350 MB: cold start (peer), warm start (davit)",
      unit: "ms",
      peer: cold,
      davit: warm,
      note: "both of davit, by the SDK, until its first line",
    },
    { title: "a snapshot of it", unit: "ms", peer: [], davit: taken },
    {
      title: `memory of one (peer), and of each of ${copies} restored ones (davit)`,
      unit: "MiB",
      ...memory,
      note: "PSS of the program, page cache not included",
    },
  ];
}

async function timedResult<T>(samples: number[], work: () => Promise<T>): Promise<T> {
  const begin = performance.now();
  const result = await work();
  samples.push(performance.now() - begin);
  return result;
}

async function memoryOfCopies(davit: Davit, bench: Bench): Promise<Pick<Row, "peer" | "davit">> {
  await using pod = await davit.run(image, options);
  await using fork = await davit.fork(pod, copies, { ready: options.ready });
  const pssOf = async ({ id }: Pod): Promise<number> => {
    const { containers } = await bench.davit.server.client.runtime.listContainers({
      filter: { podSandboxId: id },
    });
    const [container] = containers;
    const { info } = await bench.davit.server.client.runtime.containerStatus({
      containerId: container?.id ?? "",
      verbose: true,
    });
    const { pid } = JSON.parse(info["info"] ?? "{}") as { readonly pid?: number };
    const text = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
    return (Number(/^Pss:\s+(\d+)/m.exec(text)?.[1]) * 1024) / mib;
  };
  return { peer: [await pssOf(pod)], davit: await Promise.all(fork.pods.map(pssOf)) };
}

/** The first number in the log of a pod. */
async function firstCount(pod: Pod): Promise<number> {
  for await (const { text } of pod.logs()) return Number(text.split(" ")[0]);
  return 0;
}

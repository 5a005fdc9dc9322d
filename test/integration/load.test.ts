/** Many pods, one after another and at once: no errors, nothing left, no growth, no waiting for a disk. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import type { PodSandboxConfig } from "../../src/gen/runtime/v1/api_pb.ts";
import type { TestDaemon } from "../support/daemon.ts";
import { DaemonMemory } from "../support/daemon-memory.ts";
import {
  bare,
  CONTAINER,
  endDaemon,
  leakless,
  listIds,
  NODE,
  NOTREADY,
  POD,
  pod,
  READY,
  removePod,
  runPod,
  startDaemon,
  statusOf,
  stopPod,
} from "./pods.ts";

const lives = 200;
const atOnce = 50;
const warmUpLives = 40;

/** What a life may leave: some 40 bytes are usual, a forgotten promise of a pod is more than this. */
const heapBytesPerLife = 512;
/** Right after a burst: each pod that was asked for has a deadline of 2 s pending. */
const heapBytesPerBurstLife = 2048;
/** Malloc's and V8's arenas breathe by a few MiB; a leak of 100 KiB a pod is 20. */
const residentBytes = 16 << 20;

const syncCalls = ["fsync", "fdatasync", "sync", "syncfs", "sync_file_range", "msync"];

const folder = mkdtempSync(path.join(tmpdir(), "davit-load-"));
const traceFile = path.join(folder, "trace");
const hasStrace = spawnSync("strace", ["--version"]).status === 0;

let daemon: TestDaemon;
let memory: DaemonMemory;
const served = (): TestDaemon => daemon;

before(async () => {
  daemon = await startDaemon(hasStrace ? { entry: underStrace() } : {});
  memory = await DaemonMemory.attach(daemon.pid);
  // Makes the bridge, compiles the code, opens the threads, fills the caches.
  for (let at = 0; at < warmUpLives; at++) await liveOnce(kindOfPod(at));
  await liveAtOnce(atOnce);
});
after(async () => {
  memory[Symbol.dispose]();
  await endDaemon(daemon);
  rmSync(folder, { recursive: true });
});

/**
 * The daemon as a child of ours, with its own pid, and strace as a stranger beside it (-D). Only the
 * traced calls stop it (--seccomp-bpf).
 */
function underStrace(): readonly string[] {
  const trace = ["-D", "-f", "--seccomp-bpf", "-y", "-e", `trace=${syncCalls.join(",")}`];
  const davit = path.resolve(import.meta.dirname, "../../bin/davit");
  return ["strace", ...trace, "-o", traceFile, process.env["DAVIT_TEST_ENTRY"] ?? davit];
}

/** All kinds of pods in turn; most have a network. */
function kindOfPod(at: number): PodSandboxConfig {
  switch (at % 4) {
    case 0:
      return pod({ pid: POD });
    case 1:
      return pod({ pid: CONTAINER });
    case 2:
      return pod({ pid: NODE, ipc: NODE });
    default:
      return at % 8 === 3 ? bare() : pod({ pid: CONTAINER }, { hostname: "" });
  }
}

async function liveOnce(config: PodSandboxConfig): Promise<void> {
  const id = await runPod(daemon, config);
  await checkReady(id, config);
  await stopPod(daemon, id);
  const stopped = await statusOf(daemon, id);
  assert.equal(stopped.state, NOTREADY);
  assert.equal(stopped.network?.ip ?? "", "");
  await removePod(daemon, id);
}

async function checkReady(id: string, config: PodSandboxConfig): Promise<string> {
  const status = await statusOf(daemon, id);
  assert.equal(status.state, READY);
  const onHost = config.linux?.securityContext?.namespaceOptions?.network === NODE;
  const ip = status.network?.ip ?? "";
  assert.equal(ip === "", onHost, `address "${ip}"`);
  return ip;
}

/** Starts all pods at once, then stops and removes all of them at once. */
async function liveAtOnce(count: number): Promise<void> {
  const configs = Array.from({ length: count }, (_, at) => kindOfPod(at));
  const ids = await Promise.all(configs.map((config) => runPod(daemon, config)));
  assert.equal(new Set(ids).size, count);
  assert.deepEqual([...(await listIds(daemon))].toSorted(), ids.toSorted());
  const ready = await Promise.all(
    configs.map(async (config, at) => checkReady(ids[at] ?? "", config)),
  );
  const addresses = ready.filter((ip) => ip !== "");
  assert.equal(new Set(addresses).size, addresses.length, "two pods have one address");
  await Promise.all(
    ids.map(async (id) => {
      await stopPod(daemon, id);
      await removePod(daemon, id);
    }),
  );
  assert.deepEqual(await listIds(daemon), []);
}

/** A sync call that strace saw: `1234 fdatasync(21</x/davit.db-wal>) = 0`. */
interface SyncCall {
  readonly thread: number;
  readonly text: string;
}

function readTrace(): readonly SyncCall[] {
  const calls = new RegExp(`^(\\d+)\\s+((?:${syncCalls.join("|")})\\(.*)$`);
  return readFileSync(traceFile, "utf8")
    .split("\n")
    .flatMap((line) => {
      const [, thread, text] = calls.exec(line) ?? [];
      return thread === undefined || text === undefined ? [] : [{ thread: Number(thread), text }];
    });
}

describe(`${lives} pods, one after another`, () => {
  test(
    "leave nothing and take no memory",
    leakless(served, async () => {
      const first = await memory.use();
      for (let at = 0; at < lives; at++) await liveOnce(kindOfPod(at));
      const last = await memory.use();
      const perLife = Math.round((last.heap - first.heap) / lives);
      assert.ok(perLife < heapBytesPerLife, `a life leaves ${perLife} bytes in the heap`);
      const grown = last.resident - first.resident;
      assert.ok(grown < residentBytes, `${lives} lives took ${grown} bytes of memory`);
    }),
  );

  test("wait for no disk", { skip: hasStrace ? false : "strace is not installed" }, () => {
    const calls = readTrace();
    const threads = new Set(readdirSync(`/proc/${daemon.pid}/task`).map(Number));
    threads.delete(daemon.pid);
    const isCheckpoint = ({ thread, text }: SyncCall): boolean =>
      threads.has(thread) && /^fdatasync\(\d+<[^>]*\/davit\.db(-wal)?>/.test(text);
    // Without a checkpoint in so many lives the trace would have seen nothing at all.
    assert.ok(calls.some(isCheckpoint), `no checkpoint among ${calls.length} calls`);
    const others = calls.filter((call) => !isCheckpoint(call));
    assert.deepEqual(others, [], `calls that sync, beside the checkpoints' (main: ${daemon.pid})`);
  });
});

test(
  `${atOnce} pods at once, and their ends at once, leave nothing and take no memory`,
  leakless(served, async () => {
    const first = await memory.use();
    await liveAtOnce(atOnce);
    const last = await memory.use();
    const perLife = Math.round((last.heap - first.heap) / atOnce);
    assert.ok(perLife < heapBytesPerBurstLife, `a life leaves ${perLife} bytes in the heap`);
  }),
);

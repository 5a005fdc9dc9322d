import { readFileSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { constants } from "node:os";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { messageOf, RuntimeError, wrap } from "../../base/errors.ts";
import { Rollback } from "../../base/rollback.ts";
import { CriClient } from "../../client/cri-client.ts";
import { parseConfig } from "../../config/load.ts";
import { type Daemon, runDaemon } from "../../daemon/process/run.ts";
import { exitCode } from "../command-line/exit-code.ts";
import { TemporaryHost } from "./host.ts";
import { type ChosenSubnet, DEMO_BRIDGE } from "./network.ts";
import { openDemoRegistry } from "./registry.ts";
import { runPod, type RunContext, type RunningPod } from "../lifecycle/run-pod.ts";
import { thisNode } from "../lifecycle/read-manifests.ts";
import { type NodeInfo, parsePodManifests, type PodManifest } from "../../manifest/index.ts";
import type { Server } from "../server/session.ts";
import { podLogs, type PodLog, showLogs } from "./logs.ts";
import { formatPodSummary } from "../output/pod-summary.ts";
import { Progress, StepLines } from "../output/progress.ts";
import { onStopSignals } from "../stop-signals.ts";
import type { Terminal } from "../output/terminal.ts";

const RUN_DIRECTORY = "/run/davit-demo";
const ROOT_DIRECTORY = "/var/lib/davit-demo";
const CALL_TIMEOUT_MS = 60_000;
const demoNode: NodeInfo = thisNode(`${ROOT_DIRECTORY}/pods`);
const READY_TIMEOUT_MS = 20_000;
const READY_POLL_MS = 20;
// The time for which --once shows the log.
const onceMs = 1_000;

/** The options of `davit demo`. */
interface DemoOptions {
  readonly file: string;
  readonly once: boolean;
  readonly terminal: Terminal;
  readonly version: string;
}

/** A step of the cleanup. Steps run in reverse order. */
type CleanupStep = { readonly title: string; readonly work: () => Promise<unknown> };

/**
 * Starts a daemon, runs the pods of a manifest on it, shows their status and serves until a signal
 * arrives. Then, or on a failure, removes everything. Returns the exit code.
 */
export async function runDemo(options: DemoOptions): Promise<number> {
  const { terminal } = options;
  using signals = onStopSignals((signal) => {
    terminal.err("\nThe demo is not cleaned up. Run npm start again to clean it up.\n");
    process.exit(128 + constants.signals[signal]);
  });
  stopWithOutput(signals.signal);
  const progress = new Progress(terminal);
  const host = new TemporaryHost({ root: ROOT_DIRECTORY, run: RUN_DIRECTORY });
  const pods = await progress.step(
    `Read ${options.file}`,
    () => readManifest(options.file),
    describePods,
  );
  using claim = await host.claim();
  const cleanup: CleanupStep[] = [
    { title: "Remove the directories", work: () => host.removeDirectories() },
  ];
  let failed = false;
  try {
    const { daemon, logs } = await bringUp(
      { options, progress, host, pods, cleanup, ...claim },
      signals.signal,
    );
    terminal.out("\n  Log of the containers:\n");
    const enough = AbortSignal.any([
      signals.signal,
      ...(options.once ? [AbortSignal.timeout(onceMs)] : []),
    ]);
    const shown = showLogs(logs, terminal, enough);
    if (options.once) await shown;
    else await serveUntil(signals.stopped, daemon, terminal);
    await shown;
  } catch (error) {
    // Ctrl-C is not a failure.
    failed = !signals.signal.aborted;
    if (failed) terminal.err(`\n${terminal.errStyle.red("davit:")} ${messageOf(error)}\n`);
  }
  const clean = await cleanUp(cleanup, progress, terminal);
  return clean && !failed ? exitCode.done : exitCode.failed;
}

/**
 * Stops the demo as with Ctrl-C when its terminal closes or the reader of its output exits. Other commands
 * exit immediately then, but the demo would leave its pods behind.
 */
function stopWithOutput(stopping: AbortSignal): void {
  for (const output of [process.stdout, process.stderr]) {
    output.removeAllListeners("error");
    output.on("error", () => {
      if (!stopping.aborted) process.kill(process.pid, "SIGHUP");
    });
  }
}

async function serveUntil(
  stopped: Promise<unknown>,
  daemon: Daemon,
  terminal: Terminal,
): Promise<void> {
  terminal.out("\n  Serving. Press Ctrl-C to stop and remove everything.\n");
  const ended = daemon.closed.then(() => {
    throw new RuntimeError(
      "aborted",
      "run the demo: the server stopped unexpectedly; see its log above",
    );
  });
  await Promise.race([stopped, ended]);
  // Closing it later is not a failure.
  ended.catch(() => undefined);
}

interface Stage {
  readonly options: DemoOptions;
  readonly progress: Progress;
  readonly host: TemporaryHost;
  readonly pods: readonly PodManifest[];
  readonly cleanup: CleanupStep[];
  readonly leftovers: boolean;
}

async function bringUp(
  stage: Stage,
  signal: AbortSignal,
): Promise<{ readonly daemon: Daemon; readonly logs: readonly PodLog[] }> {
  const { options, progress, host, pods, cleanup } = stage;
  const describeSubnet = ({ subnet, hides }: ChosenSubnet): string =>
    `${subnet} on ${DEMO_BRIDGE}${hides === undefined ? "" : `, which hides a part of route ${hides}`}`;
  await progress.step("Choose a network", () => host.prepareNetwork(), describeSubnet);
  cleanup.push({
    title: "Remove the bridge and the port forwarding chains",
    work: async () => {
      await host.removeBridge();
      await host.removeChains();
    },
  });

  signal.throwIfAborted();
  const registry = await openDemoRegistry();
  cleanup.push({
    title: "Stop the registry",
    work: async () => {
      await registry[Symbol.asyncDispose]();
    },
  });
  await host.useRegistry(registry.url);
  const config = parseConfig(host.configuration(), "of the demo");
  const daemon = await progress.step(
    "Start the server",
    () => runDaemon(config, { version: options.version }),
    ({ socket }) => `unix://${socket}`,
  );
  cleanup.push({ title: "Stop the server", work: () => daemon.close() });
  const client = new CriClient(`unix://${daemon.socket}`);
  const describeCount = (count: number): string => `${count} ${count === 1 ? "pod" : "pods"}`;
  cleanup.push({
    title: "Stop and remove the pods",
    work: () => removePods(client).finally(() => client.close()),
  });
  await progress.step("Wait until the server is ready", async () => {
    await daemon.ready;
    await waitUntilReady(client, signal);
  });
  if (stage.leftovers) {
    const clear = async (): Promise<number> => {
      const count = await removePods(client);
      await host.removeBridge();
      return count;
    };
    await progress.step("Clean up an earlier demo", clear, describeCount);
  }

  const context = runContext(client, `unix://${daemon.socket}`);
  const logs: PodLog[] = [];
  for (const pod of pods) {
    signal.throwIfAborted();
    const running = await runInSteps(context, pod, options.terminal);
    logs.push(...(await podLogs(client, running)));
    await showPod(running, stage, client);
  }
  return { daemon, logs };
}

function readManifest(file: string): PodManifest[] {
  let yaml: string;
  try {
    yaml = readFileSync(file, "utf8");
  } catch (cause) {
    throw wrap(`read pod manifest "${file}"`, cause);
  }
  return parsePodManifests(yaml, file, demoNode);
}

function describePods(pods: readonly PodManifest[]): string {
  const names = pods.flatMap((pod) => pod.containers.map(({ name }) => name));
  return `${names.length === 1 ? "container" : "containers"} ${names.join(", ")}`;
}

async function waitUntilReady(client: CriClient, signal: AbortSignal): Promise<void> {
  const deadline = performance.now() + READY_TIMEOUT_MS;
  let reason = "it does not respond";
  while (performance.now() < deadline) {
    signal.throwIfAborted();
    try {
      const { status } = await client.runtime.status({}, { timeoutMs: CALL_TIMEOUT_MS });
      const unmet = status?.conditions.find((condition) => !condition.status);
      if (status !== undefined && unmet === undefined) return;
      reason = `${unmet?.type ?? ""} is false: ${unmet?.message ?? ""}`;
    } catch (error) {
      reason = messageOf(error);
    }
    await sleep(READY_POLL_MS);
  }
  throw new RuntimeError(
    "unavailable",
    `wait until the server is ready: ${reason}; run "davit doctor" to check this machine`,
  );
}

/**
 * Ctrl-C does not cancel calls: a create continues after its client disconnects, and a pod with an id is
 * easier to remove than one that is still being created.
 */
function runContext(client: CriClient, address: string): RunContext {
  const { signal } = new AbortController();
  const server: Server = {
    client,
    endpoint: { address, chosenBy: "default" },
    signal,
    limit: (timeoutMs = CALL_TIMEOUT_MS) => ({ timeoutMs }),
    unlimited: () => ({ timeoutMs: CALL_TIMEOUT_MS }),
  };
  return { server, node: demoNode, pulls: new Map(), signal };
}

/** Runs a pod as davit run does, with a line for each step. The pod is removed at the end of the demo. */
async function runInSteps(
  context: RunContext,
  pod: PodManifest,
  terminal: Terminal,
): Promise<RunningPod> {
  const lines = new StepLines(terminal);
  await using undo = new Rollback();
  await mkdir(pod.directory, { recursive: true, mode: 0o755 });
  const report = {
    step: (text: string) => lines.begin(`${text.slice(0, 1).toUpperCase()}${text.slice(1)}`),
    warn: (text: string) => terminal.err(`${text}\n`),
  };
  try {
    const running = await runPod(context, pod, undo, report);
    lines.end(true);
    return running;
  } catch (error) {
    lines.end(false);
    throw error;
  } finally {
    undo.commit();
  }
}

async function showPod(
  { id: podSandboxId, manifest }: RunningPod,
  { options, progress, host }: Stage,
  client: CriClient,
): Promise<void> {
  const request = { podSandboxId, verbose: true };
  const answer = await progress.step("Get the status of the pod", () =>
    client.runtime.podSandboxStatus(request, { timeoutMs: CALL_TIMEOUT_MS }),
  );
  const { terminal } = options;
  const { style } = terminal;
  const ports = manifest.sandbox.portMappings;
  terminal.out(`\n${formatPodSummary(answer, { ports, now: new Date(), style })}\n`);
  terminal.out("  From another terminal:\n");
  terminal.out(`    export DAVIT_ENDPOINT=unix://${host.socket}\n`);
  terminal.out("    bin/davit ps\n");
  terminal.out(`    bin/davit logs -f ${manifest.name}\n`);
  terminal.out(`    bin/davit inspect ${manifest.name}\n`);
}

/** Stops and removes all pods of the demo's daemon, including those of the user. Returns their number. */
async function removePods(client: CriClient): Promise<number> {
  const options = { timeoutMs: CALL_TIMEOUT_MS };
  const { items } = await client.runtime.listPodSandbox({}, options);
  for (const { id: podSandboxId } of items) {
    await client.runtime.stopPodSandbox({ podSandboxId }, options);
    await client.runtime.removePodSandbox({ podSandboxId }, options);
  }
  return items.length;
}

/** Runs the cleanup. Returns whether everything was removed. After a failure the directories stay for the next demo. */
async function cleanUp(
  cleanup: readonly CleanupStep[],
  progress: Progress,
  terminal: Terminal,
): Promise<boolean> {
  terminal.out("\n");
  let clean = true;
  for (const { title, work } of cleanup.toReversed()) {
    const last = cleanup[0]?.title === title;
    if (last && !clean) break;
    try {
      await progress.step(title, work);
    } catch (error) {
      clean = false;
      terminal.err(`    ${messageOf(error)}\n`);
    }
  }
  terminal.out(
    clean
      ? "\n  Not removed: installed packages, net.ipv4.ip_forward = 1, and a cgroup hierarchy if setup\n" +
          "  has mounted one. A reboot resets the last two.\n"
      : `\n  Not everything could be removed. ${RUN_DIRECTORY} and ${ROOT_DIRECTORY} stay, so that\n` +
          "  the next npm start can clean up.\n",
  );
  return clean;
}

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
import { DemoHost } from "./host.ts";
import { type ChosenSubnet, DEMO_BRIDGE } from "./network.ts";
import { openDemoRegistry } from "./registry.ts";
import { runPod, type RunContext, type RunningPod } from "../lifecycle/run-pod.ts";
import { thisNode } from "../lifecycle/read-manifests.ts";
import { parsePodManifests } from "../../manifest/parse.ts";
import type { PodManifest, PodNode } from "../../manifest/pod.ts";
import type { Server } from "../server/session.ts";
import { podLogs, type PodLog, showLogs } from "./logs.ts";
import { formatPodSummary } from "../output/pod-summary.ts";
import { Progress, StepLines } from "../output/progress.ts";
import { onStopSignals } from "../stop-signals.ts";
import type { Terminal } from "../output/terminal.ts";

const RUN_DIRECTORY = "/run/davit-demo";
const ROOT_DIRECTORY = "/var/lib/davit-demo";
const CALL_TIMEOUT_MS = 60_000;
const demoNode: PodNode = thisNode(`${ROOT_DIRECTORY}/pods`);
const READY_TIMEOUT_MS = 20_000;
const READY_POLL_MS = 20;
// How long --once shows the log.
const onceMs = 1_000;

/** What `davit demo` was asked for. */
export interface DemoOptions {
  readonly file: string;
  readonly once: boolean;
  readonly terminal: Terminal;
  readonly version: string;
}

/** What is to be taken down, the last first. */
type TakeDown = { readonly title: string; readonly work: () => Promise<unknown> };

/**
 * Starts a daemon, runs the pods of a manifest in it, shows their status and serves until a signal
 * comes; then, or when something fails, takes down all that it made. The exit code.
 */
export async function runDemo(options: DemoOptions): Promise<number> {
  const { terminal } = options;
  using signals = onStopSignals((signal) => {
    terminal.err("\nLeft as it is. Run npm start again to have it cleared up.\n");
    process.exit(128 + constants.signals[signal]);
  });
  endWithOutput(signals.signal);
  const progress = new Progress(terminal);
  const host = new DemoHost({ root: ROOT_DIRECTORY, run: RUN_DIRECTORY });
  const pods = await progress.step(
    `Read ${options.file}`,
    () => readManifest(options.file),
    tellPods,
  );
  using claim = await host.claim();
  const takeDown: TakeDown[] = [
    { title: "Remove its directories", work: () => host.removeDirectories() },
  ];
  let failed = false;
  try {
    const { daemon, logs } = await bringUp(
      { options, progress, host, pods, takeDown, ...claim },
      signals.signal,
    );
    terminal.out("\n  Its log:\n");
    const enough = AbortSignal.any([
      signals.signal,
      ...(options.once ? [AbortSignal.timeout(onceMs)] : []),
    ]);
    const shown = showLogs(logs, terminal, enough);
    if (options.once) await shown;
    else await serveUntil(signals.stopped, daemon, terminal);
    await shown;
  } catch (error) {
    // Ctrl-C in the middle is a wish, not a failure.
    failed = !signals.signal.aborted;
    if (failed) terminal.err(`\n${terminal.errStyle.red("davit:")} ${messageOf(error)}\n`);
  }
  const clean = await takeAllDown(takeDown, progress, terminal);
  return clean && !failed ? exitCode.done : exitCode.failed;
}

/**
 * Has the demo taken down, as at Ctrl-C, when its terminal is closed or the reader of its output is gone.
 * Other commands end at once then, but this one would leave its pods behind.
 */
function endWithOutput(stopping: AbortSignal): void {
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
  terminal.out("\n  Serving. Ctrl-C takes all of it down.\n");
  const ended = daemon.closed.then(() => {
    throw new RuntimeError("aborted", "serve: the server ended by itself");
  });
  await Promise.race([stopped, ended]);
  // Closing it on purpose, later, is no failure.
  ended.catch(() => undefined);
}

interface Stage {
  readonly options: DemoOptions;
  readonly progress: Progress;
  readonly host: DemoHost;
  readonly pods: readonly PodManifest[];
  readonly takeDown: TakeDown[];
  readonly leftovers: boolean;
}

async function bringUp(
  stage: Stage,
  signal: AbortSignal,
): Promise<{ readonly daemon: Daemon; readonly logs: readonly PodLog[] }> {
  const { options, progress, host, pods, takeDown } = stage;
  const tellSubnet = ({ subnet, hides }: ChosenSubnet): string =>
    `${subnet} on ${DEMO_BRIDGE}${hides === undefined ? "" : `, a part of the route ${hides}`}`;
  await progress.step("Choose a network", () => host.prepareNetwork(), tellSubnet);
  takeDown.push({
    title: "Remove the bridge and the port forwarding chains",
    work: async () => {
      await host.removeBridge();
      await host.removeChains();
    },
  });

  signal.throwIfAborted();
  const registry = await openDemoRegistry();
  takeDown.push({
    title: "Close its registry",
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
  takeDown.push({ title: "Stop the server", work: () => daemon.close() });
  const client = new CriClient(`unix://${daemon.socket}`);
  const tellRemoved = (count: number): string => `${count} ${count === 1 ? "pod" : "pods"}`;
  takeDown.push({
    title: "Stop and remove the pods",
    work: () => removePods(client).finally(() => client.close()),
  });
  await progress.step("Wait until it can run pods", async () => {
    await daemon.ready;
    await untilReady(client, signal);
  });
  if (stage.leftovers) {
    const clear = async (): Promise<number> => {
      const count = await removePods(client);
      await host.removeBridge();
      return count;
    };
    await progress.step("Clear what an earlier demo left", clear, tellRemoved);
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

function tellPods(pods: readonly PodManifest[]): string {
  const names = pods.flatMap((pod) => pod.containers.map(({ name }) => name));
  return `${names.length === 1 ? "container" : "containers"} ${names.join(", ")}`;
}

async function untilReady(client: CriClient, signal: AbortSignal): Promise<void> {
  const deadline = performance.now() + READY_TIMEOUT_MS;
  let missing = "it does not answer";
  while (performance.now() < deadline) {
    signal.throwIfAborted();
    try {
      const { status } = await client.runtime.status({}, { timeoutMs: CALL_TIMEOUT_MS });
      const unmet = status?.conditions.find((condition) => !condition.status);
      if (status !== undefined && unmet === undefined) return;
      missing = `${unmet?.type ?? ""} is not true: ${unmet?.message ?? ""}`;
    } catch (error) {
      missing = messageOf(error);
    }
    await sleep(READY_POLL_MS);
  }
  throw new RuntimeError("unavailable", `wait for the server: ${missing}`);
}

/**
 * Not cancelled by Ctrl-C: a create outlives its caller, and a pod that has an id is taken down
 * more simply than one that is still being made.
 */
function runContext(client: CriClient, address: string): RunContext {
  const { signal } = new AbortController();
  const server: Server = {
    client,
    endpoint: { address, chosenBy: "default" },
    signal,
    limit: (timeoutMs = CALL_TIMEOUT_MS) => ({ timeoutMs }),
    patient: () => ({ timeoutMs: CALL_TIMEOUT_MS }),
  };
  return { server, node: demoNode, pulls: new Map(), signal };
}

/** The pod as davit run would run it, its steps as lines. The demo's end takes all of it down. */
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
  const answer = await progress.step("Ask for its status", () =>
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

/** Stops and removes every pod of the demo's daemon, also those that somebody added; how many. */
async function removePods(client: CriClient): Promise<number> {
  const options = { timeoutMs: CALL_TIMEOUT_MS };
  const { items } = await client.runtime.listPodSandbox({}, options);
  for (const { id: podSandboxId } of items) {
    await client.runtime.stopPodSandbox({ podSandboxId }, options);
    await client.runtime.removePodSandbox({ podSandboxId }, options);
  }
  return items.length;
}

/** True when nothing was left. After a failure the directories stay: the next demo needs what they say. */
async function takeAllDown(
  takeDown: readonly TakeDown[],
  progress: Progress,
  terminal: Terminal,
): Promise<boolean> {
  terminal.out("\n");
  let clean = true;
  for (const { title, work } of takeDown.toReversed()) {
    const last = takeDown[0]?.title === title;
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
      ? "\n  What stays: the installed packages, net.ipv4.ip_forward = 1, and a cgroup hierarchy\n" +
          "  if setup had to mount one. A reboot undoes the last two.\n"
      : `\n  Not all could be taken down. ${RUN_DIRECTORY} and ${ROOT_DIRECTORY} stay, so that the next\n` +
          "  npm start can finish it.\n",
  );
  return clean;
}

import { setTimeout as sleep } from "node:timers/promises";
import { Rollback } from "../base/rollback.ts";
import { messageOf } from "../base/errors.ts";
import type { PodRunContext, ProgressReport, RunningPod } from "../client/pods/context.ts";
import { assignIds } from "../client/pods/assign-ids.ts";
import { runPod } from "../client/pods/run-pod.ts";
import type { PodManifest } from "../manifest/index.ts";
import type { ApplyOptions, RunOptions } from "./api/options.ts";
import { checkOnDisconnect } from "./check-options.ts";
import { withMissingProgram } from "./command.ts";
import type { Connection } from "./connection.ts";
import type { ContainerFacts } from "./container.ts";
import { DavitError } from "./errors.ts";
import { explain, invalid } from "./explain.ts";
import { checkHostPorts } from "./host-ports.ts";
import { lastLines } from "./logs.ts";
import { applyManifests, runManifest, thisNode } from "./manifest.ts";
import { type PodHost, RunningPodHandle } from "./pod.ts";
import { RunningPull } from "./pull.ts";
import { checkReady, readyTimeout, untilReady } from "./ready.ts";
import type { Lease } from "./lease.ts";
import { readFile } from "node:fs/promises";

/** What runs of pods need. */
export interface RunHost extends PodHost {
  readonly lease: Lease;
  /** Called with each pod that runs, and whether it is removed at the end of the connection. */
  readonly onRunning: (pod: RunningPodHandle, keep: boolean) => void;
  readonly list: () => Promise<readonly RunningPodHandle[]>;
}

const undoMs = 120_000;
const tailLines = 12;

/** Runs one container in a pod of its own. */
export async function run(
  host: RunHost,
  image: string,
  options: RunOptions = {},
): Promise<RunningPodHandle> {
  const { connection, directories } = host;
  const { signal, credentials, ready, onDisconnect } = options;
  const what = `run "${image}"`;
  connection.check(what);
  if (signal?.aborted === true) throw explain(what, signal.reason, signal);
  checkReady(ready);
  checkOnDisconnect(options);
  const keep = onDisconnect === "keep";
  const [lease, podsRoot] = await Promise.all([
    keep ? undefined : host.lease.id(),
    directories.root(keep),
  ]);
  const manifest = explained(what, () => runManifest({ image, options, lease, podsRoot }));
  const stop = new AbortController();
  const ends = AbortSignal.any([
    stop.signal,
    connection.closed,
    ...(signal === undefined ? [] : [signal]),
  ]);
  const context = contextOf(host, ends);
  await checked(host, what, context, [manifest], signal);
  if (credentials !== undefined && options.pull !== "never") {
    const always = options.pull === "always";
    const pulled = await new RunningPull(connection, image, { credentials, always, signal: ends });
    context.pulls.set(`${always ? "Always" : "IfNotPresent"} ${image}`, Promise.resolve(pulled.id));
  }
  const [pod] = await assigned(what, context, [manifest]);
  if (pod === undefined) throw invalid(`${what}: there is no pod`);
  const handle = await runOne(host, context, pod, { keep, what, signal, options });
  if (options.timeoutMs !== undefined) removeLater(handle, options.timeoutMs, connection);
  return handle;
}

/** How a pod is made ready. */
export interface OneRun {
  readonly keep: boolean;
  readonly what: string;
  readonly signal: AbortSignal | undefined;
  readonly options: Pick<RunOptions, "ready" | "readyTimeoutMs">;
}

/** A pod that was made, and what is known of its containers. */
export interface MadePod {
  readonly handle: RunningPodHandle;
  readonly containers: readonly ContainerFacts[];
}

async function runOne(
  host: RunHost,
  context: PodRunContext,
  pod: PodManifest,
  one: OneRun,
): Promise<RunningPodHandle> {
  const run = async (undo: Rollback, report: ProgressReport): Promise<MadePod> => {
    const running = await runPod(context, pod, undo, report);
    return { handle: toHandle(host, running), containers: factsOf(host.connection, running) };
  };
  return await makeReady(host, run, context.signal, one);
}

/** Makes a pod, and waits until it is ready. What was made of one that fails is removed. */
export async function makeReady(
  host: RunHost,
  make: (undo: Rollback, report: ProgressReport) => Promise<MadePod>,
  ends: AbortSignal,
  { keep, what, signal, options }: OneRun,
): Promise<RunningPodHandle> {
  const left: string[] = [];
  const warn = (text: string): void => void left.push(text);
  const undo = new Rollback({
    totalMs: undoMs,
    tries: 2,
    onStuck: (step, error) => warn(`${step}: ${messageOf(error)}`),
  });
  try {
    const made = await make(undo, { step: () => undefined, warn });
    const { handle } = made;
    await whenReady(made, { ...options, signal: ends });
    undo.commit();
    host.onRunning(handle, keep);
    return handle;
  } catch (error) {
    await undo[Symbol.asyncDispose]();
    const explained = withMissingProgram(host.connection.explain(what, error, signal));
    if (left.length === 0) throw explained;
    throw new DavitError(explained.kind, `${explained.message}; not removed: ${left.join("; ")}`, {
      stage: explained.stage,
      cause: explained,
    });
  }
}

async function whenReady(
  { handle, containers: [first] }: MadePod,
  options: Pick<RunOptions, "ready" | "readyTimeoutMs"> & { readonly signal: AbortSignal },
): Promise<void> {
  const { ready, readyTimeoutMs, signal } = options;
  if (ready === undefined) return;
  const path = `${handle.namespace}/${handle.name}`;
  if (first === undefined) return;
  const pod = { id: handle.id, path, address: handle.address };
  await untilReady({ ready, timeoutMs: readyTimeout(readyTimeoutMs), target: first, pod, signal });
}

/** Runs the pods of a manifest, all of them or none. */
export async function apply(
  host: RunHost,
  manifest: string | URL | object,
  options: ApplyOptions = {},
): Promise<readonly RunningPodHandle[]> {
  const { connection, directories } = host;
  const { replace = false, onDisconnect, signal } = options;
  const { name, text } = await manifestText(manifest);
  const what = `run the pods of ${name}`;
  connection.check(what);
  checkOnDisconnect(options);
  const keep = onDisconnect === "keep";
  const lease = keep ? undefined : await host.lease.id();
  const podsRoot = await directories.root(keep);
  const pods = explained(what, () => applyManifests(text, { name, lease, podsRoot }));
  await prepareNames(host, pods, replace, what);
  const failed = new AbortController();
  const ends = AbortSignal.any([
    failed.signal,
    connection.closed,
    ...(signal === undefined ? [] : [signal]),
  ]);
  const context = contextOf(host, ends);
  await checked(host, what, context, pods, signal);
  const runs = (await assigned(what, context, pods)).map((pod) => {
    const one = `run pod "${pod.namespace}/${pod.name}"`;
    return runOne(host, context, pod, { keep, what: one, signal, options: {} }).catch(
      (error: unknown) => {
        // The first failure is reported; it cancels the other pods.
        failed.abort(error);
        throw error;
      },
    );
  });
  const results = await Promise.allSettled(runs);
  const running = results.flatMap((each) => (each.status === "fulfilled" ? [each.value] : []));
  if (running.length === results.length) return running;
  await Promise.allSettled(running.map((pod) => pod.remove({ graceSeconds: 0 })));
  throw connection.explain(what, failed.signal.reason, signal);
}

async function manifestText(
  manifest: string | URL | object,
): Promise<{ readonly name: string; readonly text: string }> {
  if (typeof manifest === "string") return { name: "manifest", text: manifest };
  if (manifest instanceof URL) {
    try {
      return { name: manifest.pathname, text: await readFile(manifest, "utf8") };
    } catch (error) {
      throw explain(`read "${manifest.href}"`, error);
    }
  }
  const all: readonly unknown[] = Array.isArray(manifest) ? manifest : [manifest];
  return {
    name: "manifest",
    text: all.map((each) => JSON.stringify(each, undefined, 2)).join("\n---\n"),
  };
}

/** Rejects names that pods of the server have, or removes those. */
async function prepareNames(
  host: RunHost,
  pods: readonly PodManifest[],
  replace: boolean,
  what: string,
): Promise<void> {
  const names = pods.map(({ namespace, name }) => `${namespace}/${name}`);
  const twice = names.find((name, at) => names.indexOf(name) < at);
  if (twice !== undefined) throw invalid(`${what}: two pods have the name "${twice}"`);
  const existing = (await host.list()).filter(({ namespace, name }) =>
    names.includes(`${namespace}/${name}`),
  );
  if (existing.length > 0 && !replace) {
    const list = existing.map(({ namespace, name }) => `"${namespace}/${name}"`).join(", ");
    throw new DavitError(
      "already-exists",
      `${what}: there is a pod of this name already: ${list}`,
      {
        hint: "remove it, or use the option replace",
      },
    );
  }
  await Promise.all(existing.map((pod) => pod.remove()));
}

/** Checks the ports of the host that pods request. */
async function checked(
  { connection }: RunHost,
  what: string,
  context: PodRunContext,
  pods: readonly PodManifest[],
  signal: AbortSignal | undefined,
): Promise<void> {
  try {
    await checkHostPorts(context, what, pods);
  } catch (error) {
    throw connection.explain(what, error, signal);
  }
}

async function assigned(
  what: string,
  context: PodRunContext,
  pods: readonly PodManifest[],
): Promise<readonly PodManifest[]> {
  try {
    return await assignIds(context, pods);
  } catch (error) {
    throw explain(what, error);
  }
}

/** What runs of pods need, with the signal that ends them. */
export function contextOf(
  { connection, directories }: RunHost,
  signal: AbortSignal,
): PodRunContext {
  return {
    server: {
      client: connection.client,
      limit: (ms) => connection.quick(signal, ms),
      unlimited: () => ({ signal }),
      doing: (what, call) => connection.doing(what, call),
    },
    node: thisNode(""),
    pulls: new Map(),
    signal,
    makeVolumes: directories.makeVolumes,
    lastLines: ({ id }) => lastLines({ connection, id, path: id }, tailLines),
  };
}

function toHandle(host: RunHost, running: RunningPod): RunningPodHandle {
  const { manifest, id, ips } = running;
  const { name, namespace, uid, sandbox } = manifest;
  return new RunningPodHandle(host, {
    id,
    name,
    namespace,
    uid,
    address: ips[0] ?? "",
    labels: sandbox.labels,
    createdAt: new Date(),
    containers: factsOf(host.connection, running),
  });
}

function factsOf(
  connection: Connection,
  { manifest, containers }: RunningPod,
): readonly ContainerFacts[] {
  const { namespace, name: pod } = manifest;
  return manifest.containers.map(({ name, image }) => ({
    connection,
    id: containers.get(name) ?? "",
    name,
    image,
    path: `${namespace}/${pod}/${name}`,
  }));
}

/** A pod whose time is over. Its removal is tried until it succeeds or the connection is closed. */
export function removeLater(
  pod: RunningPodHandle,
  timeoutMs: number,
  connection: Connection,
): void {
  const remove = async (): Promise<void> => {
    while (!connection.closed.aborted) {
      try {
        await pod.remove({ graceSeconds: 0 });
        return;
      } catch {
        await sleep(1_000, undefined, { ref: false });
      }
    }
  };
  const timer = setTimeout(() => void remove(), timeoutMs);
  timer.unref();
  connection.closed.addEventListener("abort", () => clearTimeout(timer), { once: true });
}

function explained<T>(what: string, make: () => T): T {
  try {
    return make();
  } catch (error) {
    throw explain(what, error);
  }
}

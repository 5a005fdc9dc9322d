import { randomUUID } from "node:crypto";
import { mkdir } from "node:fs/promises";
import type { Rollback } from "../base/rollback.ts";
import type { ProgressReport } from "../client/pods/context.ts";
import { restorePod } from "../client/pods/restore-pod.ts";
import {
  makeRestoreDirectories,
  type PodSnapshot,
  readSnapshot,
  restoreConfigs,
  type RestoreConfigs,
  usesHostNetwork,
} from "../client/pods/snapshot.ts";
import { podDirectory, type PodNames } from "../manifest/index.ts";
import type { Pod } from "./api/pod.ts";
import type { Fork } from "./api/fork.ts";
import type { RestoreOptions, Snapshot } from "./api/snapshots.ts";
import { checkOnDisconnect, checkOptions } from "./check-options.ts";
import { DavitError } from "./errors.ts";
import { explain, invalid } from "./explain.ts";
import { leaseLabel } from "./lease.ts";
import { networkAnnotationNames, networkAnnotations } from "./manifest.ts";
import { RunningPodHandle } from "./pod.ts";
import { checkReady } from "./ready.ts";
import { contextOf, type MadePod, makeReady, removeLater, type RunHost } from "./run.ts";
import { findSnapshot } from "./snapshots.ts";

/** The pods of one snapshot that a fork makes at most: more would not be a slip of the pen. */
const maxForks = 1_000;

/** Runs a pod from a snapshot. */
export async function restore(
  host: RunHost,
  id: string,
  options: RestoreOptions = {},
): Promise<RunningPodHandle> {
  check(options);
  const what = `restore snapshot "${id}"`;
  host.connection.check(what);
  return await restoreOne(host, await readFrom(host, id, what), options);
}

/** Runs several pods from one snapshot, or from a pod, all or none. */
export async function fork(
  host: RunHost,
  source: Snapshot | Pod,
  count: number,
  options: RestoreOptions = {},
): Promise<Fork> {
  check(options);
  if (!Number.isInteger(count) || count < 1 || count > maxForks) {
    throw invalid(`fork: count must be a whole number from 1 to ${maxForks}; it is ${count}`);
  }
  const { signal } = options;
  if ("sizeBytes" in source) return await forkSnapshot(host, source, count, options);
  const taken = await source.snapshot(signal === undefined ? {} : { signal });
  return await withoutSnapshot(taken, () => forkSnapshot(host, taken, count, options));
}

/** The pods of a snapshot that is removed then. Without its removal there are no pods, and the first error is thrown. */
export async function withoutSnapshot(
  taken: Pick<Snapshot, "remove">,
  make: () => Promise<Fork>,
): Promise<Fork> {
  let made: Fork | undefined;
  try {
    made = await make();
    await taken.remove();
    return made;
  } catch (error) {
    const undo = made === undefined ? taken.remove() : made[Symbol.asyncDispose]();
    await Promise.resolve(undo).catch(() => undefined);
    throw error;
  }
}

async function forkSnapshot(
  host: RunHost,
  { id, podName }: Snapshot,
  count: number,
  options: RestoreOptions,
): Promise<Fork> {
  const what = `restore snapshot "${id}"`;
  const snapshot = await readFrom(host, id, what);
  const failed = new AbortController();
  const { signal } = options;
  const ends = signal === undefined ? failed.signal : AbortSignal.any([signal, failed.signal]);
  const base = options.name ?? podName;
  const runs = Array.from({ length: count }, (_, at) => {
    const name = options.name === undefined ? nameFrom(base) : `${base}-${at + 1}`;
    return restoreOne(host, snapshot, { ...options, name, signal: ends }).catch(
      (error: unknown) => {
        // The first failure is reported; it cancels the other pods.
        failed.abort(error);
        throw error;
      },
    );
  });
  const results = await Promise.allSettled(runs);
  const pods = results.flatMap((each) => (each.status === "fulfilled" ? [each.value] : []));
  const removeAll = async (): Promise<void> => {
    const removals = await Promise.allSettled(pods.map((pod) => pod.remove({ graceSeconds: 0 })));
    const failure = removals.find((each) => each.status === "rejected");
    if (failure !== undefined) throw failure.reason;
  };
  if (pods.length === results.length) return { pods, [Symbol.asyncDispose]: removeAll };
  await removeAll().catch(() => undefined);
  throw host.connection.explain(what, failed.signal.reason, signal);
}

async function restoreOne(
  host: RunHost,
  snapshot: PodSnapshot,
  options: RestoreOptions,
): Promise<RunningPodHandle> {
  const { connection, directories } = host;
  const { signal, onDisconnect, timeoutMs } = options;
  const keep = onDisconnect === "keep";
  const [lease, podsRoot] = await Promise.all([
    keep ? undefined : host.lease.id(),
    directories.root(keep),
  ]);
  const names: PodNames = {
    name: options.name ?? nameFrom(snapshot.podName),
    namespace: options.namespace ?? snapshot.podNamespace,
    uid: randomUUID(),
  };
  const what = `restore pod "${names.namespace}/${names.name}"`;
  const directory = podDirectory(podsRoot, names);
  const configs = configsOf(snapshot, { names, directory, lease, options });
  const ends = AbortSignal.any([connection.closed, ...(signal === undefined ? [] : [signal])]);
  const make = async (undo: Rollback, report: ProgressReport): Promise<MadePod> => {
    undo.defer(`remove directory "${directory}"`, () => directories.removeOf(names));
    await mkdir(directory, { recursive: true, mode: 0o755 });
    await makeRestoreDirectories(snapshot, directory);
    const pod = await restorePod(contextOf(host, ends), { snapshot, configs }, undo, report);
    const path = `${names.namespace}/${names.name}`;
    const containers = configs.containers.map(({ metadata, image }) => {
      const name = metadata?.name ?? "";
      const shown = image?.userSpecifiedImage || (image?.image ?? "");
      const containerId = pod.containers.get(name) ?? "";
      return { connection, id: containerId, name, image: shown, path: `${path}/${name}` };
    });
    const facts = {
      ...names,
      id: pod.id,
      address: pod.ips[0] ?? "",
      labels: configs.sandbox.labels,
      createdAt: new Date(),
      containers,
    };
    return { handle: new RunningPodHandle(host, facts), containers };
  };
  const handle = await makeReady(host, make, ends, { keep, what, signal, options });
  if (timeoutMs !== undefined) removeLater(handle, timeoutMs, connection);
  return handle;
}

function configsOf(
  snapshot: PodSnapshot,
  {
    names,
    directory,
    lease,
    options,
  }: {
    readonly names: PodNames;
    readonly directory: string;
    readonly lease: string | undefined;
    readonly options: RestoreOptions;
  },
): RestoreConfigs {
  const { network, ports } = options;
  if (network !== undefined && usesHostNetwork(snapshot)) {
    throw invalid(
      `restore snapshot "${snapshot.id}": option network cannot be set, since its pod is in the network of the host`,
    );
  }
  const { [leaseLabel]: _former, ...labels } = snapshot.config.labels;
  const annotations = Object.entries(snapshot.config.annotations).filter(
    ([name]) => network === undefined || !networkAnnotationNames.some((each) => each === name),
  );
  return restoreConfigs(snapshot, {
    names,
    directory,
    labels: {
      ...labels,
      ...options.labels,
      ...(lease === undefined ? {} : { [leaseLabel]: lease }),
    },
    annotations: {
      ...Object.fromEntries(annotations),
      ...options.annotations,
      ...(network === undefined ? {} : networkAnnotations(network)),
    },
    portMappings: ports === "keep" ? snapshot.config.portMappings : [],
  });
}

async function readFrom(host: RunHost, id: string, what: string): Promise<PodSnapshot> {
  const found = await findSnapshot(host.connection, id);
  try {
    return readSnapshot(found);
  } catch (error) {
    throw explain(what, error);
  }
}

function check(options: RestoreOptions): void {
  const { ports = "none", ...common } = options;
  const { signal, ready, name, namespace } = options;
  if (signal?.aborted === true) throw explain("restore a pod", signal.reason, signal);
  checkReady(ready);
  checkOnDisconnect(options);
  checkOptions(common);
  for (const [option, text] of Object.entries({ name, namespace })) {
    if (text === undefined || /^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/.test(text)) continue;
    throw new DavitError(
      "invalid",
      `restore a pod: option ${option} is "${text}"; use lower-case letters, digits, "-" and "."`,
    );
  }
  if (!["keep", "none"].includes(ports)) {
    throw invalid('restore a pod: option ports must be "keep" or "none"');
  }
}

/** A name made of another one: a name that was made so gets another end. */
function nameFrom(podName: string): string {
  const base = podName.replace(/-[0-9a-f]{8}$/, "").slice(0, 200);
  return `${base}-${randomUUID().slice(0, 8)}`;
}

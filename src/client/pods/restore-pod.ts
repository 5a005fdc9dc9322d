// Restores pods of snapshots by the CRI's RestorePod, for the command line and for the SDK.
import { setTimeout as sleep } from "node:timers/promises";
import { isKind, RuntimeError } from "../../base/errors.ts";
import type { Rollback } from "../../base/rollback.ts";
import type { PodNames } from "../../manifest/index.ts";
import type { CriClient } from "../cri-client.ts";
import type { PodRunContext, ProgressReport } from "./context.ts";
import { inflightOf } from "./inflight.ts";
import type { PodSnapshot, RestoreConfigs } from "./snapshot.ts";

// Timeouts for calls that run plugins and programs.
const restoreMs = 240_000;
const containerMs = 120_000;
const removeMs = 60_000;
// Less than the timeout of the whole rollback, so that the failure is reported.
const joinMs = 100_000;
const pollMs = 200;

/** A restored pod that runs. */
export interface RestoredPod {
  readonly names: PodNames;
  readonly id: string;
  readonly ips: readonly string[];
  /** The ids of its containers by name. */
  readonly containers: ReadonlyMap<string, string>;
}

/**
 * Restores a pod and lets its containers run on from where they were. Its directories exist already
 * (`makeRestoreDirectories`). The cleanup is registered in `undo`.
 */
export async function restorePod(
  context: Pick<PodRunContext, "server" | "signal">,
  { snapshot, configs }: { readonly snapshot: PodSnapshot; readonly configs: RestoreConfigs },
  undo: Rollback,
  report: ProgressReport,
): Promise<RestoredPod> {
  const { client, limit, doing } = context.server;
  const { signal } = context;
  const { name, namespace, uid } = namesOf(configs);
  const pod = `pod "${namespace}/${name}"`;
  report.step("restoring");
  let state: "not sent" | "unknown" | "known" | "not ours" = "not sent";
  undo.defer(`remove ${pod}`, async () => {
    if (state === "not sent" || state === "not ours") return;
    report.step("removing the pod");
    await removeByUid(client, { name, namespace, uid }, state === "unknown");
  });
  signal.throwIfAborted();
  state = "unknown";
  const request = {
    checkpointPath: snapshot.path,
    config: configs.sandbox,
    runtimeHandler: snapshot.runtimeHandler,
    containerConfigs: [...configs.containers],
    // Without effect unless the snapshot has open connections, and those are of an address that is gone.
    options: { "davit.close-tcp": "true" },
  };
  let restored;
  try {
    const call = client.runtime.restorePod(request, { ...limit(restoreMs), signal });
    restored = await doing(`restore ${pod}`, call);
    state = "known";
  } catch (error) {
    if (!signal.aborted && !isKind(error, "deadline-exceeded")) {
      // The server has removed what it made.
      state = isKind(error, "already-exists") ? "not ours" : "known";
    }
    throw error;
  }
  const { podSandboxId: id } = restored;
  const containers = new Map<string, string>();
  for (const { name: container, containerId } of restored.restoredContainers) {
    report.step(`starting ${container}`);
    const started = client.runtime.startContainer(
      { containerId },
      { ...limit(containerMs), signal },
    );
    await doing(`start container "${namespace}/${name}/${container}"`, started);
    containers.set(container, containerId);
  }
  const { status } = await client.runtime.podSandboxStatus(
    { podSandboxId: id },
    { ...limit(), signal },
  );
  const { ip = "", additionalIps = [] } = status?.network ?? {};
  const ips = [ip, ...additionalIps.map((each) => each.ip)].filter((each) => each !== "");
  return { names: { name, namespace, uid }, id, ips, containers };
}

function namesOf({ sandbox: { metadata } }: RestoreConfigs): PodNames {
  if (metadata === undefined) throw new TypeError("a config without metadata");
  const { name, namespace, uid } = metadata;
  return { name, namespace, uid };
}

/**
 * Removes the pod of this uid if it exists. The client of a call that was canceled does not know whether the server
 * still makes it, so with `mayBeMade` this waits until the server does not.
 */
async function removeByUid(
  client: Pick<CriClient, "runtime">,
  names: PodNames,
  mayBeMade: boolean,
): Promise<void> {
  const options = { timeoutMs: removeMs };
  const { runtime } = client;
  const untilMs = performance.now() + joinMs;
  while (mayBeMade && (await inflightOf(client, names, options)) !== undefined) {
    if (performance.now() > untilMs) {
      throw new RuntimeError(
        "deadline-exceeded",
        "the server is still restoring it; see davit pods, and remove it there",
      );
    }
    await sleep(pollMs);
  }
  const { items } = await runtime.listPodSandbox({}, options);
  for (const { id, metadata } of items) {
    if (metadata?.uid !== names.uid) continue;
    await runtime.stopPodSandbox({ podSandboxId: id }, options);
    await runtime.removePodSandbox({ podSandboxId: id }, options);
  }
}

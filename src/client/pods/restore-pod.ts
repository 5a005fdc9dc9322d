// Restores pods of snapshots by the CRI's RestorePod, for the command line and for the SDK.
import { isKind } from "../../base/errors.ts";
import type { Rollback } from "../../base/rollback.ts";
import type { PodNames } from "../../manifest/index.ts";
import type { CriClient } from "../cri-client.ts";
import type { PodRunContext, ProgressReport } from "./context.ts";
import { isInflight } from "./inflight.ts";
import type { PodSnapshot, RestoreConfigs } from "./snapshot.ts";

// Timeouts for calls that run plugins and programs.
const restoreMs = 240_000;
const containerMs = 120_000;
const removeMs = 60_000;
// Less than the timeout of the whole rollback, so that the failure is reported.
const joinMs = 100_000;

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
  const request = {
    checkpointPath: snapshot.path,
    config: configs.sandbox,
    runtimeHandler: snapshot.runtimeHandler,
    containerConfigs: [...configs.containers],
    // Without effect unless the snapshot has open connections, and those are of an address that is gone.
    options: { "davit.close-tcp": "true" },
  };
  let state: "not sent" | "canceled" | "timed out" | "completed" | "not ours" = "not sent";
  undo.defer(`remove ${pod}`, async () => {
    if (state === "not sent" || state === "not ours") return;
    report.step("removing the pod");
    const isUnknown =
      state === "timed out"
        ? await isInflight(client, { name, namespace, uid }, { timeoutMs: removeMs })
        : state === "canceled";
    // davit completes what a caller left, for its retry: the same request joins it (SandboxRun).
    if (isUnknown)
      await client.runtime.restorePod(request, { timeoutMs: joinMs }).catch(() => undefined);
    await removeByUid(client, uid);
    state = "completed";
  });
  signal.throwIfAborted();
  state = "canceled";
  let restored;
  try {
    const call = client.runtime.restorePod(request, { ...limit(restoreMs), signal });
    restored = await doing(`restore ${pod}`, call);
    state = "completed";
  } catch (error) {
    if (isKind(error, "deadline-exceeded")) state = "timed out";
    // Else the server has removed what it made.
    else if (!signal.aborted) state = isKind(error, "already-exists") ? "not ours" : "completed";
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

/** Removes the pod of this uid if it exists. */
async function removeByUid({ runtime }: Pick<CriClient, "runtime">, uid: string): Promise<void> {
  const options = { timeoutMs: removeMs };
  const { items } = await runtime.listPodSandbox({}, options);
  for (const { id, metadata } of items) {
    if (metadata?.uid !== uid) continue;
    await runtime.stopPodSandbox({ podSandboxId: id }, options);
    await runtime.removePodSandbox({ podSandboxId: id }, options);
  }
}

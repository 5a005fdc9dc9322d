/**
 * What a crash test does at one spot of an update of resources: strike, and hold the cgroup, the
 * status and the records against each other. Each ends with nothing left but the site's bystanders.
 */
import assert from "node:assert/strict";
import { create } from "@bufbuild/protobuf";
import {
  type LinuxContainerResources,
  LinuxContainerResourcesSchema,
  type PodSandboxConfig,
} from "../../../src/gen/runtime/v1/api_pb.ts";
import {
  containerStatus,
  createIn,
  EXITED,
  type Pod,
  RUNNING,
  start,
  stop,
} from "../suites/containers.ts";
import {
  cgroupValue,
  code,
  failsWith,
  infoOf,
  parentOf,
  removePod,
  stopPod,
} from "../suites/pods.ts";
import {
  type CrashSite,
  checkTrue,
  type FaultAction,
  faultAt,
  type PodKind,
  podOf,
  runPod,
  retry,
  type Spot,
  stageOf,
} from "./sites.ts";
import {
  checkContainer,
  endContainer,
  homeOf,
  listener,
  liveContainer,
  untilUp,
} from "./containers.ts";
import { failsAt, type Recoveries, recoverAfter } from "./pod-scenarios.ts";

const mib = 1n << 20n;
const [earlier, later] = [64n * mib, 96n * mib];

/** What is in force where the daemon died: the limits come first, the record second. */
function expected({ point }: Spot): { readonly cgroup: bigint; readonly record: bigint } {
  const at = stageOf(point);
  return {
    cgroup: at === "write-limits" ? earlier : later,
    record: at === "answer" ? later : earlier,
  };
}

const unchanged = { cgroup: earlier, record: earlier };
const updated = { cgroup: later, record: later };

function memoryOf(cgroup: string): bigint {
  return BigInt(cgroupValue(cgroup, "memory.limit_in_bytes", "memory.max"));
}

// ---- containers

/** The daemon dies at `spot` of an UpdateContainerResources; kubelet then sends it again. */
export async function killUpdate(
  site: CrashSite,
  spot: Spot,
  kind: PodKind,
  recoveries: Recoveries = [],
): Promise<void> {
  const { pod, id } = await beginWithLimits(site, spot, "kill", kind);
  await site.killedBy(spot, update(pod, id));
  await recoverAfter(site, recoveries);
  await site.checkBystanders();
  await checkContainer(pod, id, RUNNING);
  await checkLimits(pod, id, expected(spot));
  await retry("the resources are updated", () => update(pod, id));
  await checkLimits(pod, id, updated);
  await endContainer(site, pod, id);
}

/** An UpdateContainerResources fails at `spot`: the earlier limits are in force and recorded. */
export async function throwUpdate(site: CrashSite, spot: Spot, kind: PodKind): Promise<void> {
  const { pod, id } = await beginWithLimits(site, spot, "throw", kind);
  await assert.rejects(update(pod, id), failsAt(spot));
  await site.checkBystanders();
  await checkLimits(pod, id, unchanged);
  await update(pod, id);
  await checkLimits(pod, id, updated);
  await endContainer(site, pod, id);
}

/** An UpdateContainerResources hangs at `spot`: it delays no other container, and no stop of its own. */
export async function hangUpdate(site: CrashSite, spot: Spot, kind: PodKind): Promise<void> {
  const { pod, id } = await beginWithLimits(site, spot, "hang", kind);
  const failed = assert.rejects(update(pod, id), failsAt(spot, code.aborted, /being stopped/));
  failed.catch(() => undefined);
  await site.reached(spot);
  await liveContainer(pod);
  await stop(site.daemon, id);
  await failed;
  await checkContainer(pod, id, EXITED);
  const { resources } = await containerStatus(site.daemon, id);
  assert.equal(resources?.linux?.memoryLimitInBytes, earlier);
  await endContainer(site, pod, id);
}

async function beginWithLimits(
  site: CrashSite,
  spot: Spot,
  action: FaultAction,
  kind: PodKind,
): Promise<{ readonly pod: Pod; readonly id: string }> {
  await site.begin(faultAt(spot, action));
  const pod = homeOf(site, kind);
  const config = listener({ linux: { resources: { memoryLimitInBytes: earlier } } });
  const id = await createIn(pod, config);
  await start(site.daemon, id);
  await untilUp(pod, config);
  await checkLimits(pod, id, unchanged);
  return { pod, id };
}

async function update({ daemon }: Pod, containerId: string): Promise<void> {
  const linux = { memoryLimitInBytes: later };
  await daemon.client.runtime.updateContainerResources({ containerId, linux });
}

async function checkLimits(
  { daemon, config }: Pod,
  id: string,
  want: ReturnType<typeof expected>,
): Promise<void> {
  const { resources } = await containerStatus(daemon, id);
  const cgroup = memoryOf(`${parentOf(config)}/${id}`);
  assert.deepEqual({ cgroup, record: resources?.linux?.memoryLimitInBytes }, want);
}

// ---- pods

/** The daemon dies at `spot` of an UpdatePodSandboxResources; kubelet then sends it again. */
export async function killUpdatePod(
  site: CrashSite,
  spot: Spot,
  kind: PodKind,
  recoveries: Recoveries = [],
): Promise<void> {
  const { id, config } = await beginWithPodLimits(site, spot, "kill", kind);
  await site.killedBy(spot, updatePod(site, id));
  await recoverAfter(site, recoveries);
  await site.checkBystanders();
  await checkTrue(site.daemon, id, config, "ready");
  await checkPodLimits(site, id, config, expected(spot));
  await retry("the resources are updated", () => updatePod(site, id));
  await checkPodLimits(site, id, config, updated);
  await endPod(site, id);
}

/** An UpdatePodSandboxResources fails at `spot`: the earlier limits are in force and recorded. */
export async function throwUpdatePod(site: CrashSite, spot: Spot, kind: PodKind): Promise<void> {
  const { id, config } = await beginWithPodLimits(site, spot, "throw", kind);
  await assert.rejects(updatePod(site, id), failsAt(spot));
  await site.checkBystanders();
  await checkPodLimits(site, id, config, unchanged);
  await updatePod(site, id);
  await checkPodLimits(site, id, config, updated);
  await endPod(site, id);
}

/** An UpdatePodSandboxResources hangs at `spot`: its caller gives up, and all is as before. */
export async function hangUpdatePod(site: CrashSite, spot: Spot, kind: PodKind): Promise<void> {
  const { id, config } = await beginWithPodLimits(site, spot, "hang", kind);
  const caller = new AbortController();
  const request = podUpdate(id);
  const { signal } = caller;
  const call = site.daemon.client.runtime.updatePodSandboxResources(request, { signal });
  const failed = assert.rejects(call, failsWith(code.canceled));
  failed.catch(() => undefined);
  await site.reached(spot);
  await site.checkBystanders();
  caller.abort();
  await failed;
  await site.left(spot);
  await updatePod(site, id);
  await checkPodLimits(site, id, config, updated);
  await endPod(site, id);
}

async function beginWithPodLimits(
  site: CrashSite,
  spot: Spot,
  action: FaultAction,
  kind: PodKind,
): Promise<{ readonly id: string; readonly config: PodSandboxConfig }> {
  await site.begin(faultAt(spot, action));
  const config = podOf(kind);
  assert.ok(config.linux !== undefined);
  config.linux.resources = create(LinuxContainerResourcesSchema, { memoryLimitInBytes: earlier });
  const id = await runPod(site.daemon, config);
  await checkPodLimits(site, id, config, unchanged);
  return { id, config };
}

function podUpdate(podSandboxId: string): {
  readonly podSandboxId: string;
  readonly resources: Pick<LinuxContainerResources, "memoryLimitInBytes">;
} {
  return { podSandboxId, resources: { memoryLimitInBytes: later } };
}

async function updatePod({ daemon }: CrashSite, id: string): Promise<void> {
  await daemon.client.runtime.updatePodSandboxResources(podUpdate(id));
}

async function checkPodLimits(
  { daemon }: CrashSite,
  id: string,
  config: PodSandboxConfig,
  want: ReturnType<typeof expected>,
): Promise<void> {
  const shown = (await infoOf(daemon, id))["resources"] as
    | { readonly linux: { readonly memory_limit_in_bytes?: number } }
    | undefined;
  // Without an update the config's own are in force.
  const record = BigInt(shown?.linux.memory_limit_in_bytes ?? earlier);
  assert.deepEqual({ cgroup: memoryOf(parentOf(config)), record }, want);
}

async function endPod(site: CrashSite, id: string): Promise<void> {
  await stopPod(site.daemon, id);
  await removePod(site.daemon, id);
  await site.checkNothingLeft();
}

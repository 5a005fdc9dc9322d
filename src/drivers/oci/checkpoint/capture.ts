import { rm, writeFile } from "node:fs/promises";

import { join } from "node:path";

import { messageOf, wrap } from "../../../base/errors.ts";
import type { Logger } from "../../../base/logger.ts";
import { maxTimerMs } from "../../../base/time.ts";
import { beforeAbort, within } from "../../../base/wait.ts";
import type { CaptureRequest } from "../../../core/container/index.ts";
import { endingStep, type Operation, type StepObserver } from "../../../core/operation/index.ts";
import {
  type CgroupLayout,
  isFrozen,
  keepFreezing,
  thawCgroup,
} from "../../../linux/cgroup/index.ts";
import { type EndingContainer, explainEnd } from "../../../stdio/exec-session.ts";
import type { OciSpec } from "../../../core/oci/index.ts";
import { parseSpec } from "../../../oci-spec/index.ts";
import { readBundleSpec } from "../bundle.ts";
import { callRuntime, runtimeStep } from "../runtime-command.ts";
import type { RuntimeState } from "../runtime-state.ts";
import type { StateLayout } from "../state-layout.ts";
import { commonOptions, criuConfig } from "./criu-config.ts";
import { hasFinishedDump } from "./criu-log.ts";
import { endCriu } from "./end-criu.ts";
import { deviceMounts, linkedMounts } from "./external-mounts.ts";
import { explainCapture } from "./failure.ts";
import { captureLastPid, sharedPids } from "./last-pid.ts";

/** What {@link captureProcesses} works with. */
export interface CaptureDeps {
  readonly paths: StateLayout;
  readonly cgroups: CgroupLayout;
  readonly onStep?: StepObserver;
  readonly log: Logger;
}

/** A container that is captured. */
export interface CapturedContainer extends EndingContainer {
  readonly id: string;
  readonly state: RuntimeState;
}

/** How long a container may take to freeze again after a capture that was ended. */
const freezeMs = 1_000;
/** How long an OCI runtime may take to end after its CRIU. */
const runtimeMs = 500;
/** Deleted files that processes have open are part of the images up to this size (criu(8), --ghost-limit). */
const ghostLimit = "256M";

/** See ContainerCaptures.capture. */
export async function captureProcesses(
  deps: CaptureDeps,
  container: CapturedContainer,
  request: CaptureRequest,
  operation: Operation,
): Promise<void> {
  const { paths, onStep } = deps;
  const { id, state } = container;
  const { runtimePath, cgroupPath } = state;
  const mark = paths.file(id, "captured");
  const config = paths.file(id, "capture.conf");
  try {
    if (!request.leaveRunning) await writeFile(mark, "", { mode: 0o600 });
    const spec = parseSpec((await readBundleSpec(paths, id)) ?? "");
    const run = async (signal: AbortSignal): Promise<void> => {
      const end = runtimeStep(onStep, "checkpoint", runtimePath);
      const args = checkpointArguments(id, request);
      const env = { CRIU_CONFIG_FILE: config };
      const call = { ...state, root: paths.runtimeRoot(runtimePath), args, env, signal };
      await endingStep(end, callRuntime({ ...call, timeoutMs: maxTimerMs }));
    };
    const by = { container, cgroupPath, runtimePath, spec, config, request, run };
    await captureBy(deps, by, operation);
  } catch (cause) {
    await rm(mark, { force: true });
    throw cause;
  }
}

function checkpointArguments(id: string, request: CaptureRequest): readonly string[] {
  return [
    "checkpoint",
    `--image-path=${request.images}`,
    `--work-path=${request.work}`,
    ...["--ext-unix-sk", "--file-locks"],
    ...(request.leaveRunning ? ["--leave-running"] : []),
    id,
  ];
}

/** A capture by a program that runs `checkpoint` of an OCI runtime. */
export interface RuntimeCapture {
  readonly container: EndingContainer & { readonly id: string };
  readonly cgroupPath: string;
  /** Path or name of the OCI runtime. */
  readonly runtimePath: string;
  readonly spec: OciSpec;
  /** Where CRIU's configuration is written: the OCI runtime has the path in CRIU_CONFIG_FILE. */
  readonly config: string;
  readonly request: CaptureRequest;
  /** Resolves when the OCI runtime has ended. Nobody waits for it any more once the signal is aborted. */
  readonly run: (signal: AbortSignal) => Promise<void>;
}

/** Captures the processes of a container. At the operation's deadline, CRIU is ended. See ContainerCaptures.capture. */
export async function captureBy(
  deps: Pick<CaptureDeps, "cgroups" | "log">,
  capture: RuntimeCapture,
  operation: Operation,
): Promise<void> {
  const { container, cgroupPath, request } = capture;
  const { id } = container;
  const doing = `capture container "${id}"`;
  await explainEnd(container, doing, async () => {
    const wasPaused = (await isFrozen(deps.cgroups, cgroupPath)) === true;
    try {
      await dump(deps.log, capture, operation);
      // Its files are copied next, and must not be newer than its memory.
      if (wasPaused && request.leaveRunning) await freezeAgain(deps, cgroupPath);
    } catch (cause) {
      await keepPaused(deps, capture, wasPaused);
      throw wrap(doing, await explainCapture(request.work, cause));
    }
  });
}

/** Runs `checkpoint` of the OCI runtime. At the operation's deadline its CRIU is ended. */
async function dump(
  log: Logger,
  { runtimePath, spec, config, request, run }: RuntimeCapture,
  { signal }: Operation,
): Promise<void> {
  const options = [
    ...commonOptions,
    ["ghost-limit", ghostLimit] as const,
    ...(request.closeTcp ? ["tcp-close"] : []),
    ...(await linkedMounts(runtimePath, spec, "capture")),
    ...deviceMounts(spec),
  ];
  await writeFile(config, criuConfig(options), { mode: 0o600 });
  signal.throwIfAborted();
  const stop = new AbortController();
  const running = run(stop.signal);
  try {
    await beforeAbort(running, signal);
    const pids = sharedPids(spec);
    if (pids !== undefined) await captureLastPid(pids, request.images);
  } catch (error) {
    const finished = (): Promise<boolean> => hasFinishedDump(join(request.work, "dump.log"));
    if (!signal.aborted) {
      // The processes have ended, and davit may have removed the container before the runtime did.
      if (!request.leaveRunning && (await finished())) return;
      // It outlives an OCI runtime that is killed, or that ends with its shim.
      await endCriu(request.work, log);
      throw error;
    }
    // CRIU first: without its runtime it would end the processes of a capture that does not leave them running.
    await endCriu(request.work, log);
    if (await within(running, runtimeMs)) return;
    stop.abort();
    // One that the runtime had just started.
    await endCriu(request.work, log);
    // It was done just before, and the processes may have ended.
    if (!(await finished())) throw error;
  }
}

/** Not by the freezer's pause(), which lets the container run when it fails. */
async function freezeAgain(
  { cgroups }: Pick<CaptureDeps, "cgroups">,
  cgroupPath: string,
): Promise<void> {
  await keepFreezing(cgroups, cgroupPath, { signal: AbortSignal.timeout(freezeMs) });
}

/**
 * CRIU thaws a paused container when it has stopped its processes, and freezes it at the end: one that was ended may not
 * have done so.
 */
async function keepPaused(
  { cgroups, log }: Pick<CaptureDeps, "cgroups" | "log">,
  { container: { id }, cgroupPath }: RuntimeCapture,
  wasPaused: boolean,
): Promise<void> {
  try {
    if (wasPaused) await freezeAgain({ cgroups }, cgroupPath);
    else await thawCgroup(cgroups, cgroupPath);
  } catch (error) {
    const state = wasPaused ? "pause" : "resume";
    log.warn(`failed to ${state} container "${id}" after a capture: ${messageOf(error)}`, {
      error,
    });
  }
}

import { writeFile } from "node:fs/promises";

import { beforeAbort, within } from "../../../base/wait.ts";
import { wrap } from "../../../base/errors.ts";
import { maxTimerMs } from "../../../base/time.ts";
import type { CaptureRequest } from "../../../core/container/index.ts";
import type { Operation, StepObserver } from "../../../core/operation/index.ts";
import { endingStep } from "../../../core/operation/index.ts";
import { type EndingContainer, explainEnd } from "../../../stdio/exec-session.ts";
import { callRuntime, runtimeStep } from "../runtime-command.ts";
import type { RuntimeState } from "../runtime-state.ts";
import type { StateLayout } from "../state-layout.ts";
import { commonOptions, criuConfig } from "./criu-config.ts";
import { explainCapture } from "./failure.ts";

/** What {@link captureProcesses} works with. */
export interface CaptureDeps {
  readonly paths: StateLayout;
  readonly onStep?: StepObserver;
}

/** A container that is captured. */
export interface CapturedContainer extends EndingContainer {
  readonly id: string;
  readonly state: RuntimeState;
}

/** See ContainerCaptures.capture. */
export async function captureProcesses(
  deps: CaptureDeps,
  container: CapturedContainer,
  request: CaptureRequest,
  operation: Operation,
): Promise<void> {
  const doing = `capture container "${container.id}"`;
  await explainEnd(container, doing, async () => {
    try {
      await dump(deps, container, request, operation);
    } catch (cause) {
      throw wrap(doing, await explainCapture(request.work, cause));
    }
  });
}

/** Deleted files that processes have open are part of the images up to this size (criu(8), --ghost-limit). */
const ghostLimit = "256M";

async function dump(
  { paths, onStep }: CaptureDeps,
  { id, state }: CapturedContainer,
  request: CaptureRequest,
  operation: Operation,
): Promise<void> {
  const config = paths.file(id, "capture.conf");
  const options = [
    ...commonOptions,
    ["ghost-limit", ghostLimit] as const,
    ...(request.closeTcp ? ["tcp-close"] : []),
  ];
  await writeFile(config, criuConfig(options), { mode: 0o600 });
  const stop = new AbortController();
  const running = callRuntime({
    ...state,
    root: paths.runtimeRoot(state.runtimePath),
    args: [
      "checkpoint",
      `--image-path=${request.images}`,
      `--work-path=${request.work}`,
      ...["--ext-unix-sk", "--file-locks"],
      ...(request.leaveRunning ? ["--leave-running"] : []),
      id,
    ],
    env: { CRIU_CONFIG_FILE: config },
    timeoutMs: maxTimerMs,
    signal: stop.signal,
  });
  const end = runtimeStep(onStep, "checkpoint", state.runtimePath);
  try {
    await endingStep(end, beforeAbort(running, operation.signal));
  } catch (error) {
    stop.abort();
    await within(running, 2_000);
    throw error;
  }
}

import type { Container, ContainerExit } from "../../core/container/index.ts";
import { containerSubject } from "../lifecycle/subjects.ts";
import { type ContainerContext, runtimeOf } from "./context.ts";
import { tellEnd } from "./tell-end.ts";

export type ExitedState = Extract<Container["state"], { readonly name: "exited" }>;

/** Waits in the background for the exit of a running container's process and records it. */
export function watchContainer(context: ContainerContext, id: string): void {
  const runtime = runtimeOf(context, context.store.get(id));
  context.tasks.spawn(`wait for container "${id}"`, async (signal) => {
    recordExit(context, id, await runtime.wait(id, signal));
  });
}

/** Changes a running container to exited. Does nothing in any other state. */
export function recordExit(context: ContainerContext, id: string, exit: ContainerExit): void {
  const container = context.store.peek(id);
  if (container?.state.name !== "running") return;
  const { startedAtNs } = container.state;
  const evicted = context.plugins?.evicted.get(id);
  const state = exitedState(startedAtNs, exit, {
    evicted,
    denied: context.deniedCalls?.stopped(id),
  });
  const ended = context.store.update(id, (now) => ({ ...now, state }));
  logExit(context, container, state);
  tellEnd(context, ended);
  context.failedTeardowns.ended(id);
}

/** Logs how a container ended. */
export function logExit(
  context: Pick<ContainerContext, "log" | "sandboxes">,
  container: Container,
  end: ExitedState,
): void {
  const { exitCode, reason, message, startedAtNs, finishedAtNs } = end;
  context.log.info("container ended", {
    ...containerSubject(container, context.sandboxes),
    exitCode,
    reason,
    ...(message === "" ? {} : { message }),
    ...(startedAtNs === 0n ? {} : { ranMs: Number((finishedAtNs - startedAtNs) / 1_000_000n) }),
  });
}

/** The state after `exit`, with the reasons that kubelet shows and acts on. */
function exitedState(
  startedAtNs: bigint,
  exit: ContainerExit,
  why: { readonly evicted: string | undefined; readonly denied: string | undefined },
): ExitedState {
  const { denied } = why;
  return {
    name: "exited",
    startedAtNs,
    finishedAtNs: afterStart(startedAtNs, exit.finishedAtNs),
    exitCode: exit.exitCode,
    reason: denied !== undefined && !exit.unknown ? "seccomp killed" : reasonOf(exit),
    message: exit.unknown
      ? "the exit status of its process is lost"
      : (denied ?? why.evicted ?? endOf(exit)),
    ...(exit.usage && { usage: exit.usage }),
  };
}

/**
 * The time of an end, later than that of the start, as clients expect it. A monitor's exit file has the kernel's time of
 * files, which advances once a tick and lags behind by up to 10 ms; and a clock may have been set back.
 */
export function afterStart(startedAtNs: bigint, finishedAtNs: bigint): bigint {
  return finishedAtNs > startedAtNs ? finishedAtNs : startedAtNs + 1n;
}

function endOf({ captured }: ContainerExit): string {
  return captured === true
    ? "it was captured in a checkpoint, and its processes ended with that"
    : "";
}

function reasonOf(exit: ContainerExit): string {
  if (exit.unknown) return "Unknown";
  if (exit.captured === true) return "Checkpointed";
  // api.proto, ContainerStatus.reason: must be exactly this for a container out of memory.
  if (exit.oomKilled) return "OOMKilled";
  return exit.exitCode === 0 ? "Completed" : "Error";
}

import { CommandFailure, exitCode } from "../command-line/exit-code.ts";
import type { WatchedContainer, WatchedStates } from "./watched.ts";

/** What a command can wait for. */
export const conditions = ["ended", "running", "ready", "removed"] as const;

/** A condition of pods and containers. */
export type Condition = (typeof conditions)[number];

/** A pod or container that a command waits for. */
export interface Target {
  readonly kind: "pod" | "container";
  readonly id: string;
  /** NAMESPACE/NAME or NAMESPACE/POD/NAME, for messages. */
  readonly path: string;
}

/** Whether the condition holds. Throws a CommandFailure if it can never hold any more. */
export function isMet(condition: Condition, target: Target, states: WatchedStates): boolean {
  switch (condition) {
    case "ended":
      return hasEnded(target, states);
    case "running":
      return target.kind === "pod"
        ? isPodRunning(target, states)
        : isContainerRunning(target, states);
    case "ready":
      return isPodReady(target, states);
    case "removed":
      return target.kind === "pod"
        ? states.pod(target.id)?.isRemoved === true
        : isGone(states.container(target.id));
  }
}

/** A container that has never been listed is gone, too. */
function isGone(container: WatchedContainer | undefined): boolean {
  return container === undefined || container.isRemoved;
}

function isOver(container: WatchedContainer | undefined): boolean {
  return isGone(container) || container?.state === "exited";
}

function hasEnded({ kind, id }: Target, states: WatchedStates): boolean {
  if (kind === "container") return isOver(states.container(id));
  const containers = states.containersOf(id);
  // A pod that is being stopped is not ready before its containers end: their codes are not known yet.
  if (!containers.every(isOver)) return false;
  return containers.length > 0 || states.pod(id)?.isReady === false;
}

function isContainerRunning(target: Target, states: WatchedStates): boolean {
  const container = states.container(target.id);
  if (container?.state === "running" && !container.isRemoved) return true;
  if (!isOver(container)) return false;
  throw impossible(
    target,
    "run",
    container?.isRemoved === false ? "it has exited" : "it is removed",
  );
}

function isPodReady(target: Target, states: WatchedStates): boolean {
  const pod = states.pod(target.id);
  if (pod?.isReady === true) return true;
  if (pod === undefined) return false;
  throw impossible(
    target,
    "be ready",
    pod.isRemoved ? "it is removed" : "it is not ready any more",
  );
}

function isPodRunning(target: Target, states: WatchedStates): boolean {
  const pod = states.pod(target.id);
  if (pod?.isReady === false) {
    throw impossible(target, "run", pod.isRemoved ? "it is removed" : "it is not ready any more");
  }
  const present = states.containersOf(target.id).filter(({ isRemoved }) => !isRemoved);
  // Of several attempts of a container, the last one counts.
  const newest = new Map(present.map((container) => [container.name, container]));
  const last = [...newest.values()].at(-1);
  // An init container completes before the next container is created (see countContainers).
  const counted = [...newest.values()].filter(
    (each) => each === last || each.state !== "exited" || each.end?.exitCode !== 0,
  );
  return counted.length > 0 && counted.every(({ state }) => state === "running");
}

function impossible({ kind, path }: Target, what: string, why: string): CommandFailure {
  return new CommandFailure(exitCode.failed, `wait for ${kind} "${path}" to ${what}: ${why}`);
}

import {
  ContainerState,
  type ContainerStatus,
  type PodSandbox,
  PodSandboxState,
} from "../../gen/runtime/v1/api_pb.ts";
import type { readInfo } from "../output/cri-message.ts";

/** The states of containers, as lists and filters name them. */
export const containerStates = ["created", "running", "exited", "unknown"] as const;

/** The name of a container's state. */
export function containerStateName(state: ContainerState): (typeof containerStates)[number] {
  return containerStates[state] ?? "unknown";
}

/** Whether davit has paused a container, which is running for the CRI. */
export function isPaused(status: ContainerStatus | undefined): boolean {
  return status?.state === ContainerState.CONTAINER_RUNNING && status.reason === "Paused";
}

/** The ids of paused containers in the `info` of a verbose Status, which only davit reports. */
export function pausedIn(info: ReturnType<typeof readInfo>): ReadonlySet<string> {
  const { paused } = info;
  const ids: readonly unknown[] = Array.isArray(paused) ? paused : [];
  return new Set(ids.filter((id) => typeof id === "string"));
}

/** The states of pods in lists and filters. */
export const podStates = ["ready", "notready"] as const;

/** The state of a pod, as lists and filters name it. */
export function stateName({ state }: PodSandbox): (typeof podStates)[number] {
  return state === PodSandboxState.SANDBOX_READY ? "ready" : "notready";
}

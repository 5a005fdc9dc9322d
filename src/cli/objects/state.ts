import type { ContainerState } from "../../gen/runtime/v1/api_pb.ts";

/** The states of containers, as lists and filters name them. */
export const containerStates = ["created", "running", "exited", "unknown"] as const;

/** The name of a container's state. */
export function containerStateName(state: ContainerState): (typeof containerStates)[number] {
  return containerStates[state] ?? "unknown";
}

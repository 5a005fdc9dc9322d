import type { ContainerState } from "../../gen/runtime/v1/api_pb.ts";

/** The states of a container, as davit's lists and filters call them. */
export const containerStates = ["created", "running", "exited", "unknown"] as const;

/** The state of a container in words. */
export function containerStateName(state: ContainerState): (typeof containerStates)[number] {
  return containerStates[state] ?? "unknown";
}

// The stats verbs: resource usage of containers and pods. They use only the interfaces of core. Start
// reading with containers.ts.
export { containerStats, listContainerStats, type MeasuredContainer } from "./containers.ts";
export type { StatsContext } from "./context.ts";
export { listPodSandboxStats, type MeasuredPod, podSandboxStats } from "./pods.ts";

// The verbs of stats: what containers and pods use. They work on the interfaces of core alone. Start
// with containers.ts.
export { containerStats, listContainerStats, type MeasuredContainer } from "./containers.ts";
export type { StatsContext } from "./context.ts";
export { listPodSandboxStats, type MeasuredPod, podSandboxStats } from "./pods.ts";

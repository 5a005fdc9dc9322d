// Tells kubelet's cAdvisor which cgroup belongs to which pod, on containerd's socket and in containerd's
// words: docs/decisions/0018-cadvisor.md. Imports core, wire and gen. Start with containerd-api.ts.
export { containerdMethods, type ContainerdSource } from "./containerd-api.ts";
export { type NetworkHost, PodNetworks } from "./pod-networks.ts";
export { CadvisorServer } from "./server.ts";

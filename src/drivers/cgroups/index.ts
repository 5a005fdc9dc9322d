// The cgroups of pods on this host, v1 and v2, by cgroupfs. Imports core, linux and spec.
export { FsPodCgroups } from "./pod-cgroups.ts";

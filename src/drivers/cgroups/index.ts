// The cgroups of pods on this host, v1 and v2, by cgroupfs. Imports core and linux.
export { FsPodCgroups } from "./pod-cgroups.ts";

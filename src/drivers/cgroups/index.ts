// The cgroups of pods on this host, v1 and v2, by cgroupfs or by systemd. Imports core, linux and
// spec. Start with by-driver.ts.
export { PodCgroupsByDriver } from "./by-driver.ts";

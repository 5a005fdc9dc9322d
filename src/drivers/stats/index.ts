// What containers and pods use, from cgroupfs v1 and v2, many in one job of the thread pool, and from
// network namespaces, in one job each. Imports core and linux. Start with host-stats.ts.
export { usageReader } from "./container-usage.ts";
export { HostStats } from "./host-stats.ts";

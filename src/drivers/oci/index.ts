// The OCI runtimes under davit. So far: what they say that they can do. Imports core and linux.
export type { RuntimeFeatures } from "./features.ts";
export { readRuntimeFeatures } from "./features.ts";

// Containers by conmon and an OCI runtime (crun, runc), and what such a runtime can do. Imports core
// and linux. Start with oci-runtime.ts.
export { readRuntimeFeatures } from "./features.ts";
export { OciRuntime } from "./oci-runtime.ts";
export { updateLimits } from "./update.ts";

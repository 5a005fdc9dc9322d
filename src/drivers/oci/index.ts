// Containers by a monitor and an OCI runtime (crun, runc), and the features of such a runtime. Imports core,
// linux and stdio. Start with oci-runtime.ts.
export { parseFeatures, readRuntimeFeatures } from "./features.ts";
export { captureBy, endCriu, prepareRestore } from "./checkpoint/by-others.ts";
export { OciRuntime } from "./oci-runtime.ts";
export { updateLimits } from "./update.ts";

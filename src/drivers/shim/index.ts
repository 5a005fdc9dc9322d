// Containers by containerd's shims: starts a shim a pod, speaks its task API over ttrpc, reads its
// fifos and writes the CRI log. Imports core, linux and wire. Start with shim-runtime.ts.
export { encodeOptions, isRuncType, runtimeOfOptions } from "./process/options.ts";
export { shimProgram } from "./process/shim-binary.ts";
export { ShimController } from "./sandbox/shim-controller.ts";
export { ShimRuntime } from "./task/shim-runtime.ts";

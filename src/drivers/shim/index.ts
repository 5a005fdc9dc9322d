// Containers by containerd's shims: starts a shim for each pod, speaks its task API over ttrpc, reads its
// fifos and writes the CRI log. Imports core, linux, stdio and wire. Start with task/shim-runtime.ts.
export { encodeOptions, isRuncType, runtimeOfOptions } from "./process/options.ts";
export { shimProgram } from "./process/shim-binary.ts";
export { ShimController } from "./sandbox/shim-controller.ts";
export { obstacleToRestores } from "./task/restore.ts";
export { ShimRuntime } from "./task/shim-runtime.ts";

// The podsandbox controller: pods whose namespaces davit pins itself, without a pause container.
// Imports core and linux. Start with controller.ts; state-layout.ts has the paths of a sandbox.
export { PodFiles } from "./pod-files.ts";
export { PodSandboxController } from "./controller.ts";

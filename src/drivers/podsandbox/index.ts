// The podsandbox controller: pods whose namespaces davit pins itself, without a pause container.
// Imports core and linux. Start with controller.ts; places.ts says where everything lies.
export { PodFiles } from "./pod-files.ts";
export { PodSandboxController } from "./controller.ts";

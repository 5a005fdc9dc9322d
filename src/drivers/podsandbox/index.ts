// The podsandbox controller: pods whose namespaces davit pins itself, without a pause container.
// Imports core and linux. Start with controller.ts; places.ts says where everything lies.
export { PodSandboxController } from "./controller.ts";

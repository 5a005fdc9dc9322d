// What a container's spec needs of the host: users of its root, devices, mount sources, and facts
// of the machine. Imports core, spec and linux. Start with container-specs.ts.
export { apparmorObstacle } from "./apparmor.ts";
export { HostContainerSpecs } from "./container-specs.ts";
export { readSpecHost } from "./host-facts.ts";
export { rootUsers } from "./root-users.ts";
export { Selinux } from "./selinux.ts";

/** Namespaces: pin them as files, watch the pins, write the sysctls inside them. */
export { NamespaceWatch } from "./namespace-watch.ts";
export {
  isNamespaceMounted,
  type NamespacePins,
  pinNamespaces,
  unpinNamespace,
} from "./namespaces.ts";
export { unpinNamespaces } from "./native.ts";
export { type SysctlNamespaces, writeSysctls } from "./sysctls.ts";
export { tmpfsVolumeObstacle, userNamespaceObstacle } from "./user-namespaces.ts";

/**
 * The pod network by CNI plugins (specification 1.1.0 and the older 1.0.0, 0.4.0, 0.3.x): finds the
 * configuration, executes the plugins, reads their answers. Imports base, core and linux. Start with
 * cni-network.ts; conf-dir.ts is where a node's "network not ready" comes from.
 */
export { namesOwner } from "./builtin/host-local/store.ts";
export { CniNetwork } from "./cni-network.ts";
export { type NetworkReading, type PluginStep, readNetwork, tryPlugins } from "./trial.ts";

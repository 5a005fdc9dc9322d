/**
 * Images from registries: a client of the OCI distribution specification and of Docker's v2 on
 * node:http alone, with containerd's `hosts.toml`. Imports base and core. Start with registry.ts;
 * fallback-client.ts asks the hosts in turn, registry-hosts.ts finds them, credential-chain.ts chooses
 * credentials, node-credentials has those of this node, authorizer.ts turns them into what a registry
 * demands, failure.ts explains errors.
 */
export { Archives } from "./archive/archives.ts";
export { configuredRegistry } from "./configured-registry.ts";
export { type HostTrial, type RegistryTrial, tryRegistry } from "./trial.ts";

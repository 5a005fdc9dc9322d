/**
 * Images from registries: a client of the OCI distribution specification and of Docker's v2 on
 * node:http alone, with containerd's `hosts.toml`. Imports base and core. Start with registry.ts;
 * registry-hosts.ts decides who is asked, authorizer.ts with what, failure.ts what errors say.
 */
export type { RegistryTiming } from "./host-client.ts";
export type { Capability } from "./hosts-file.ts";
export type { Platform } from "./platform.ts";
export type { RegistryOptions } from "./registry.ts";
export { Registry } from "./registry.ts";
export type { RegistryHost } from "./registry-hosts.ts";
export { type HostTrial, type RegistryTrial, tryRegistry } from "./trial.ts";

// NRI, the interface of a node's plugins: programs that are told about pods and containers and may change them
// (docs/nri.md). `connection` is one plugin, `members` their life, `dispatch` the order of their events; `find` and
// `launch` have the plugins that davit starts, `listen` those of others. `describe` makes the messages, `merge` makes one
// result of all answers. Loaded only where NRI is on. Start with plugins.ts.
export { describeContainer, describePod, messages } from "./describe/index.ts";
export { defaultValidator, type ValidatorSettings } from "./merge/index.ts";
export type { PluginFailure } from "./failures.ts";
export { findPlugins, type FoundPlugin, type RefusedPlugin } from "./find.ts";
export type { PluginTimeouts } from "./connection.ts";
export type { Describer, NriOptions, PluginCall } from "./options.ts";
export { type NriStatus, NriPlugins, type PluginStatus } from "./plugins.ts";

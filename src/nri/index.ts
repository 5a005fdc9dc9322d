// The SDK for NRI plugins: what `import ... from "davit/nri"` gives (docs/nri-sdk.md). A plugin is a program of its
// own, outside the daemon, and runs on containerd and CRI-O as well. Start with plugin.ts.
export { Adjustment, adjust } from "./builder/adjustment.ts";
export type * from "./builder/inputs.ts";
export { type DeviceRule, ResourcesBuilder } from "./builder/resources.ts";
export { evict, Update, update } from "./builder/update.ts";
export type * from "./changes.ts";
export type * from "./handlers.ts";
export type * from "./messages.ts";
export {
  type NriPlugin,
  type PluginOptions,
  plugin,
  type ReconnectOptions,
  type RuntimeInfo,
} from "./plugin.ts";

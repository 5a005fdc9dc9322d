/** Something that happened on the node, and that is not a change of a container or a sandbox. */
export type NodeEvent =
  /** A pull has ended with this image, whether or not something was fetched. */
  | { readonly kind: "image-pulled"; readonly id: string; readonly name: string }
  | { readonly kind: "image-removed"; readonly id: string; readonly names: readonly string[] }
  /** The kernel killed a process of a container for lack of memory. */
  | { readonly kind: "oom-killed"; readonly containerId: string; readonly sandboxId: string }
  | ({ readonly kind: "plugin-connected" } & PluginName)
  | ({ readonly kind: "plugin-lost"; readonly reason: string } & PluginName);

/** The name of a plugin (NRI). */
interface PluginName {
  readonly name: string;
  /** Two digits. */
  readonly index: string;
}

// Plugins of the node (NRI): the port that the engine calls, and the one that plugins call. Start with plugins.ts.
export type {
  ChangesOfOthers,
  ContainerOfPlugins,
  CreatedWithPlugins,
  PluginHost,
  Plugins,
  UpdatedWithPlugins,
} from "./plugins.ts";

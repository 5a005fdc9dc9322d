// Plugins of the node (NRI): the port that the engine calls, and the one that plugins call. Start with plugins.ts.
export type {
  AskedEviction,
  ChangesOfOthers,
  ContainerOfPlugins,
  CreatedWithPlugins,
  DividedAdjustment,
  PluginHost,
  PluginMessages,
  Plugins,
  UpdatedWithPlugins,
} from "./plugins.ts";
export type {
  ContainerAdjustment,
  ContainerEviction,
  ContainerUpdate,
  LinuxResources,
} from "../../gen/nri/pkg/api/v1alpha1/api_pb.ts";

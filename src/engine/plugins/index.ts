// What the verbs of pods and containers have in common where they call the plugins of the node (NRI).
export {
  askPlugins,
  EnginePlugins,
  holdPlugins,
  tellPlugins,
  type WithPlugins,
} from "./plugins.ts";

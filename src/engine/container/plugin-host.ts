import type { ContainerOfPlugins, PluginHost } from "../../core/plugin/index.ts";
import type { ContainerContext } from "./context.ts";
import { evictContainers } from "./evict.ts";
import { ofPlugins } from "./of-plugins.ts";
import { updateOthers } from "./update-others.ts";

/**
 * What plugins may read and change by their own initiative. Its calls take no hold: a plugin that is being
 * synchronized may make them. `context` is called once the daemon is built.
 */
export function pluginHost(context: () => ContainerContext): PluginHost {
  return {
    list: () => listOfPlugins(context()),
    update: (updates) => {
      const { tasks } = context();
      return updateOthers(context(), updates, tasks.signal);
    },
    evict: (evictions, plugin) => {
      const asked = evictions.map(({ containerId, reason }) => ({ containerId, reason, plugin }));
      return evictContainers(context(), asked);
    },
  };
}

function listOfPlugins(context: ContainerContext): ReturnType<PluginHost["list"]> {
  const pods = [...context.sandboxes.all()].filter(({ state }) => state.name !== "creating");
  const containers: ContainerOfPlugins[] = [];
  for (const container of context.store.all()) {
    const { name } = container.state;
    const of = name === "created" || name === "running" ? ofPlugins(context, container) : undefined;
    if (of !== undefined) containers.push(of);
  }
  return { pods, containers };
}

import type { PluginObserver, PluginRun } from "../../../core/network/index.ts";
import { BoundedValues } from "../bounded-values.ts";
import type { Registry } from "../registry.ts";

/** Plugins with series of their own; a network has a few. */
const maxPlugins = 16;

const bounds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60] as const;

/** The runs of CNI plugins. A run starts a process, so a lookup by name costs nothing beside it. */
export function pluginSeries(registry: Registry): PluginObserver {
  const plugins = new BoundedValues(maxPlugins);
  const durations = registry.histogram(
    {
      name: "davit_cni_plugin_duration_seconds",
      help: "How long CNI plugins ran, by plugin and command: ADD, DEL, STATUS or GC.",
      labels: ["plugin", "command"],
    },
    bounds,
  );
  const failures = registry.counter({
    name: "davit_cni_plugin_failures_total",
    help: "Runs of CNI plugins that failed, by plugin and command.",
    labels: ["plugin", "command"],
  });
  return ({ plugin, command, tookMs, failed }: PluginRun) => {
    const name = plugins.of(plugin);
    durations.with(name, command).observe(tookMs / 1000);
    failures.with(name, command).add(failed ? 1 : 0);
  };
}

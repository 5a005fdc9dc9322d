import { BoundedValues } from "../bounded-values.ts";
import type { Registry } from "../registry.ts";

/** A question to a plugin of the node. */
export interface NriCall {
  /** Index and name. */
  readonly plugin: string;
  readonly event: string;
  readonly tookMs: number;
  readonly outcome: "ok" | "refused" | "dropped";
}

/** Plugins with series of their own; a node has a few, and they choose their names. */
const maxPlugins = 16;

const bounds = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5] as const;

/** What the plugins of the node (NRI) were asked. */
export function nriSeries(registry: Registry): (call: NriCall) => void {
  const plugins = new BoundedValues(maxPlugins);
  const durations = registry.histogram(
    {
      name: "davit_nri_plugin_duration_seconds",
      help: "How long the plugins of the node (NRI) took to answer, with the wait for their turn, by plugin and event.",
      labels: ["plugin", "event"],
    },
    bounds,
  );
  const failures = registry.counter({
    name: "davit_nri_plugin_failures_total",
    help: "Events that a plugin of the node (NRI) refused, or at which it was dropped because it did not answer, by plugin, event and outcome.",
    labels: ["plugin", "event", "outcome"],
  });
  return ({ plugin, event, tookMs, outcome }) => {
    const name = plugins.of(plugin);
    durations.with(name, event).observe(tookMs / 1000);
    if (outcome !== "ok") failures.with(name, event, outcome).add();
  };
}

import type { Registry } from "../registry.ts";

/** Lengths of queues and numbers of sessions, by name. The names are few and do not change. */
export interface GaugeSources {
  readonly queues: () => Readonly<Record<string, number>>;
  readonly sessions: () => Readonly<Record<string, number>>;
}

/** Registers the queues of the daemon and the sessions of its streaming server. */
export function addGauges(registry: Registry, sources: GaugeSources): void {
  registry.computed(
    "gauge",
    {
      name: "davit_queue_length",
      help: "What waits in the queues of the daemon.",
      labels: ["queue"],
    },
    () => samplesOf(sources.queues()),
  );
  registry.computed(
    "gauge",
    {
      name: "davit_streaming_sessions",
      help: "Open sessions of exec, attach and port-forward.",
      labels: ["type"],
    },
    () => samplesOf(sources.sessions()),
  );
}

function samplesOf(values: Readonly<Record<string, number>>) {
  return Object.entries(values).map(([name, value]) => ({ value, labels: [name] }));
}

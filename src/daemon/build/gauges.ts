import type { WriteBehindRecords } from "../../drivers/records/index.ts";
import type { SandboxContext } from "../../engine/sandbox/index.ts";
import type { Measured } from "./metrics.ts";
import type { Networks } from "./networks.ts";
import type { Streaming } from "./streaming.ts";

type Engine = Pick<SandboxContext, "teardown" | "janitor" | "inflightCreates" | "failedTeardowns">;

/** The queues and the sessions of the daemon, which metrics read at each scrape. */
export function gaugesOf(
  { teardown, janitor, inflightCreates, failedTeardowns }: Engine,
  parts: {
    readonly networks: Networks;
    readonly records: WriteBehindRecords;
    readonly waitingUnpackers: () => number;
    readonly urls: Pick<Streaming, "sessions">;
  },
): Measured["gauges"] {
  const { networks, records, waitingUnpackers, urls } = parts;
  return {
    queues: () => ({
      "cni-add": networks.waiting().add,
      "cni-del": networks.waiting().del,
      unpack: waitingUnpackers(),
      "write-behind": records.pendingWrites().length,
      "network-teardown": teardown.pending().length,
      janitor: janitor.owned().length,
      "unclaimed-creates": inflightCreates.unclaimed().length,
      "failed-teardowns": failedTeardowns.all().length,
    }),
    sessions: () => {
      const { exec, attach, portforward } = urls.sessions;
      return { exec, attach, "port-forward": portforward };
    },
  };
}

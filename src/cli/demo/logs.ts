import type { CriClient } from "../../client/cri-client.ts";
import { readLog } from "../../linux/file/index.ts";
import type { RunningPod } from "../lifecycle/run-pod.ts";
import { LogPrinter } from "../logs/print-log.ts";
import type { Terminal } from "../output/terminal.ts";

const callMs = 60_000;

/** The log of a container. */
export interface PodLog {
  readonly name: string;
  readonly path: string;
}

/** The logs of a pod's containers. */
export async function podLogs(client: CriClient, pod: RunningPod): Promise<readonly PodLog[]> {
  const logs: PodLog[] = [];
  for (const [name, containerId] of pod.containers) {
    const { status } = await client.runtime.containerStatus({ containerId }, { timeoutMs: callMs });
    logs.push({ name, path: status?.logPath ?? "" });
  }
  return logs;
}

/** Prints the output of containers until `signal` is aborted. */
export async function showLogs(
  logs: readonly PodLog[],
  terminal: Terminal,
  signal: AbortSignal,
): Promise<void> {
  const follow = async ({ name, path }: PodLog): Promise<void> => {
    const printer = new LogPrinter(terminal, () => `  ${terminal.style.dim(`${name}:`)} `);
    for await (const lines of readLog(path, { follow: { ended: signal }, signal })) {
      // The demo prints both streams to stdout.
      printer.print(lines.map((line) => ({ ...line, stream: "stdout" })));
    }
  };
  await Promise.all(logs.map(follow));
}

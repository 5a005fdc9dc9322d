import { setTimeout as sleep } from "node:timers/promises";
import process from "node:process";
import type { Call, Command } from "../command-line/command.ts";
import { exitCode } from "../command-line/exit-code.ts";
import { podPath } from "../objects/find.ts";
import { Objects } from "../objects/objects.ts";
import { pickPod } from "../objects/pick.ts";
import { formatValue } from "../output/cri-message.ts";
import { outputFormat, outputOption } from "../output/listing.ts";
import { type Server, withServer } from "../server/session.ts";

const defaultIntervalMs = 2_000;
/** A server takes a sample of a container about once a second: more frequent requests return the same values. */
const leastIntervalMs = 500;

/** `davit top`. */
export const top: Command = {
  name: "top",
  section: "Inspection and debugging",
  summary: "Show the pods of the node on a live screen, or the processes of a pod",
  details:
    "The header has the state of the node, the usage of its pods and, with a davit server, the operations in\n" +
    "progress. The table has pods and their containers. Keys: Up, Down and Space select and unfold a pod;\n" +
    "Enter follows a log, s opens a shell, w explains (davit why), i inspects, x stops after a question; / filters,\n" +
    "o changes the order, t adds the network, f and p show failures and operations in progress; ? lists all\n" +
    "keys, and q quits. A narrow terminal drops columns in this order: last minute, limit, restarts, containers,\n" +
    "network, memory, CPU. If the output is not a terminal, it is printed once, as with --once.\n" +
    "With POD or CONTAINER and no option, prints the processes of the running containers, as docker top does: UID, PID\n" +
    "and PPID are those of the host, and IN POD is the PID in the container. With options, the screen has only these\n" +
    "pods.",
  operands: [{ name: "POD|CONTAINER", many: true, optional: true, complete: "pod-or-container" }],
  options: {
    ...outputOption,
    interval: {
      short: "n",
      value: "SECONDS",
      doc: "Time between samples (default 2; at least 0.5)",
    },
    once: { doc: "Print one frame as a table, after one interval" },
  },
  examples: [
    { line: "davit top", does: "Watch all pods of the node" },
    { line: "davit top web", does: "Print the processes of a pod" },
    { line: "davit top -n 5 web", does: "Watch one pod, with a sample every 5 s" },
    { line: "davit top --once", does: "Print the usage of all pods and containers" },
    { line: "davit top -o json | jq '.pods[].cpu'", does: "Print one frame as JSON" },
  ],
  client: true,
  run: (call) => withServer(call, (server) => show(call, server)),
};

async function show(call: Call, server: Server): Promise<number> {
  const isScreenOfPods = ["interval", "once", "output"].some((name) => call.options.has(name));
  if (call.operands.length > 0 && !isScreenOfPods) {
    const { printProcesses } = await import("../top/print-processes.ts");
    return await printProcesses(call, server);
  }
  const intervalMs = readInterval(call);
  const pods = await selectPods(call, server);
  const isScreen =
    call.terminal.live &&
    process.stdin.isTTY &&
    !call.options.has("once") &&
    !call.options.has("output");
  if (!isScreen) return await printOnce(call, server, { intervalMs, pods });
  const { TopScreen } = await import("../top/app.ts");
  return await new TopScreen(call, server, { intervalMs, pods }).run();
}

function readInterval(call: Call): number {
  const ms = call.options.durationMs("interval") ?? defaultIntervalMs;
  if (ms >= leastIntervalMs) return ms;
  throw call.options.invalid("interval", "is too short: must be at least 0.5 seconds");
}

/** The paths of the named pods: a pod that is created again under its name is shown, too. */
async function selectPods(call: Call, server: Server): Promise<ReadonlySet<string> | undefined> {
  if (call.operands.length === 0) return undefined;
  const objects = new Objects(server);
  const paths = new Set<string>();
  for (const word of call.operands) paths.add(podPath(await pickPod(word, objects)));
  return paths;
}

async function printOnce(
  call: Call,
  server: Server,
  options: { readonly intervalMs: number; readonly pods: ReadonlySet<string> | undefined },
): Promise<number> {
  const { takeFrame, onceText, onceValue } = await import("../top/once.ts");
  const pause = (): Promise<void> =>
    sleep(options.intervalMs, undefined, { signal: server.signal });
  const taken = await takeFrame(server, pause, options.pods);
  const format = outputFormat(call);
  call.terminal.out(
    format === "json" || format === "yaml"
      ? formatValue(onceValue(taken), format)
      : onceText(taken, { terminal: call.terminal, wide: format === "wide" }),
  );
  return exitCode.done;
}

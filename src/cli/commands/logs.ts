import { ContainerState } from "../../gen/runtime/v1/api_pb.ts";
import { isKind, kindOf } from "../../base/errors.ts";
import type { Call, Command } from "../command-line/command.ts";
import { CommandFailure, exitCode } from "../command-line/exit-code.ts";
import { parseDurationMs } from "../command-line/options.ts";
import { LogPrinter } from "../logs/print-log.ts";
import { readLog } from "../logs/read-log.ts";
import { containerPath } from "../objects/find.ts";
import { Objects } from "../objects/objects.ts";
import { pickContainer } from "../objects/pick.ts";
import { doing } from "../server/explain.ts";
import { type Server, withServer } from "../server/session.ts";

/** `davit logs`. */
export const logs: Command = {
  name: "logs",
  section: "Inspection and debugging",
  summary: "Print the log of a container",
  details:
    "Prints stdout of the container to stdout, and its stderr to stderr. Reads the log file of the\n" +
    "container, so it must run on the same machine as the server. A pod can be named instead of its only\n" +
    "container, or its only running one.",
  operands: [{ name: "CONTAINER", complete: "container" }],
  options: {
    follow: { short: "f", doc: "Follow the log until the container exits, across log rotations" },
    since: {
      value: "TIME",
      doc: "Print only newer lines: a duration (5m) or a time (2026-01-31T12:00:00Z)",
    },
    tail: { short: "n", value: "LINES", doc: "Print only this number of lines from the end" },
    timestamps: { short: "t", doc: "Print the time before each line" },
  },
  examples: [
    { line: "davit logs web", does: "Print the log of a pod's only container" },
    { line: "davit logs -f --tail 20 web/nginx", does: "Print the last lines and follow the log" },
    { line: "davit logs --since 10m -t web/nginx 2>errors.txt", does: "Write stderr to a file" },
  ],
  client: true,
  run: (call) => withServer(call, (server) => printContainerLog(call, server)),
};

/** Prints the log of the container that the call names, until its end or until the signal is aborted. */
export async function printContainerLog(call: Call, server: Server): Promise<number> {
  const [word = ""] = call.operands;
  const tail = call.options.count("tail");
  const sinceMs = readSince(call);
  const found = await pickContainer(word, new Objects(server));
  const containerId = found.container.id;
  const name = containerPath(found);
  const stateOf = async () => {
    const request = { containerId };
    const answer = server.client.runtime.containerStatus(request, server.limit());
    return (await doing(`get the status of container "${name}"`, answer)).status;
  };
  const logPath = (await stateOf())?.logPath ?? "";
  if (logPath === "") {
    throw new CommandFailure(
      exitCode.failed,
      `read the log of container "${name}": it has no log, since its request had no log_path`,
    );
  }
  const hasEnded = async (): Promise<boolean> => {
    try {
      const state = (await stateOf())?.state;
      return state === undefined || state === ContainerState.CONTAINER_EXITED;
    } catch (error) {
      if (isKind(error, "not-found")) return true;
      throw error;
    }
  };
  const timestamps = call.options.has("timestamps");
  const printer = new LogPrinter(call.terminal, ({ time }) => (timestamps ? `${time} ` : ""));
  const options = {
    signal: server.signal,
    ...(tail === undefined ? {} : { tail }),
    ...(sinceMs === undefined ? {} : { sinceMs }),
    ...(call.options.has("follow") ? { follow: { hasEnded } } : {}),
  };
  try {
    for await (const lines of readLog(logPath, options)) printer.print(lines);
  } catch (error) {
    if (kindOf(error) !== "not-found") throw error;
    throw new CommandFailure(
      exitCode.failed,
      `read the log of container "${name}": "${logPath}" not found: the container has not started yet, ` +
        "or the file is on another machine or in another mount namespace; run davit logs where the server runs",
    );
  }
  return server.signal.aborted ? exitCode.interrupted : exitCode.done;
}

function readSince(call: Call): number | undefined {
  const text = call.options.text("since");
  if (text === undefined) return undefined;
  const ago = parseDurationMs(text);
  const ms = ago === undefined ? Date.parse(text) : Date.now() - ago;
  if (Number.isNaN(ms)) {
    throw call.options.invalid(
      "since",
      `is "${text}": must be a duration or a time, such as 5m or 2026-01-31T12:00:00Z`,
    );
  }
  return ms;
}

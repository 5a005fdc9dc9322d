import type { Call, Command } from "../command-line/command.ts";
import { exitCode } from "../command-line/exit-code.ts";
import { parseDurationMs } from "../command-line/options.ts";
import { containerLog } from "../logs/container-log.ts";
import { LogPrinter } from "../logs/print-log.ts";
import { containerPath } from "../objects/find.ts";
import { Objects } from "../objects/objects.ts";
import { pickContainer } from "../objects/pick.ts";
import { type Server, withServer } from "../server/session.ts";

/** `davit logs`. */
export const logs: Command = {
  name: "logs",
  section: "Inspection and debugging",
  summary: "Print the log of a container",
  details:
    "Prints stdout of the container to stdout, and its stderr to stderr. davit sends the log; with another\n" +
    "server the log file is read, so the command must run on the same machine and may read the file. A pod\n" +
    "can be named instead of its only container, or its only running one.",
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
  const sinceNs = readSince(call);
  const found = await pickContainer(word, new Objects(server));
  const containerId = found.container.id;
  const name = containerPath(found);
  const timestamps = call.options.has("timestamps");
  const printer = new LogPrinter(call.terminal, ({ time }) => (timestamps ? `${time} ` : ""));
  const follow = call.options.has("follow");
  const log = containerLog(server, { containerId, name, tail, sinceNs, follow }, server.signal);
  for await (const lines of log) printer.print(lines);
  return server.signal.aborted ? exitCode.interrupted : exitCode.done;
}

function readSince(call: Call): bigint | undefined {
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
  return BigInt(Math.max(0, Math.round(ms))) * 1_000_000n;
}

import type { Call, Command } from "../command-line/command.ts";
import { CommandFailure, exitCode } from "../command-line/exit-code.ts";
import { parseDurationMs } from "../command-line/options.ts";
import { UsageError } from "../command-line/usage-error.ts";
import { containerLog } from "../logs/container-log.ts";
import { LineJoiner } from "../logs/line-joiner.ts";
import { LogPrinter } from "../logs/print-log.ts";
import { containerOption } from "../objects/container-option.ts";
import { containerPath, newestAttempts, type PodContainer } from "../objects/find.ts";
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
    "can be named instead of its only container, or its only running one, or NAME is the container of the\n" +
    "pod. With --label, the logs of all containers of the pods with these labels are printed, each line with\n" +
    "its container.",
  operands: [
    { name: "CONTAINER|POD", optional: true, complete: "container" },
    { name: "NAME", optional: true },
  ],
  options: {
    container: containerOption,
    follow: { short: "f", doc: "Follow the log until the container exits, across log rotations" },
    previous: {
      short: "p",
      doc: "Print the log of the container before, of the same name and pod",
    },
    label: {
      short: "l",
      value: "KEY=VALUE",
      many: true,
      doc: "Print the logs of all pods with this label (repeatable)",
      alsoNamed: ["--selector"],
    },
    since: {
      value: "TIME",
      doc: "Print only newer lines: a duration (5m) or a time (2026-01-31T12:00:00Z)",
      alsoNamed: ["--since-time"],
    },
    until: { value: "TIME", doc: "Print only older lines" },
    tail: { short: "n", value: "LINES", doc: "Print only this number of lines from the end" },
    timestamps: { short: "t", doc: "Print the time before each line" },
  },
  examples: [
    { line: "davit logs web", does: "Print the log of a pod's only container" },
    { line: "davit logs -f --tail 20 web/nginx", does: "Print the last lines and follow the log" },
    { line: "davit logs --since 10m -t web/nginx 2>errors.txt", does: "Write stderr to a file" },
    { line: "davit logs -f -l app=web", does: "Follow the logs of several pods" },
  ],
  client: true,
  run: (call) => withServer(call, (server) => printContainerLogs(call, server)),
};

/** Prints the logs that the call names, until their ends or until the signal is aborted. */
export async function printContainerLogs(call: Call, server: Server): Promise<number> {
  const [word, name] = call.operands;
  const times = { sinceNs: readTime(call, "since"), untilNs: readTime(call, "until") };
  const objects = new Objects(server);
  if (!call.options.has("label")) {
    if (word === undefined) throw new UsageError("CONTAINER|POD is missing", logs);
    const inPod = name ?? call.options.text("container");
    const found = await pickContainer(word, objects, inPod);
    const target = call.options.has("previous") ? await containerBefore(found, objects) : found;
    return await printLog(call, server, target, times);
  }
  if (word !== undefined) throw new UsageError(`--label must not be combined with "${word}"`, logs);
  if (call.options.has("previous")) {
    throw new UsageError("--label must not be combined with --previous", logs);
  }
  const all = await containersOf(call, objects);
  const print = async (target: PodContainer): Promise<number> =>
    printLog(call, server, target, { ...times, prefix: containerPath(target) });
  // Followed logs are printed as they grow, others one after another.
  if (call.options.has("follow")) return Math.max(...(await Promise.all(all.map(print))));
  for (const target of all) await print(target);
  return server.signal.aborted ? exitCode.interrupted : exitCode.done;
}

/** The containers of all pods with the labels of the call, by name. */
async function containersOf(call: Call, objects: Objects): Promise<readonly PodContainer[]> {
  const labels = Object.entries(call.options.pairs("label"));
  const inPod = call.options.text("container");
  const found = newestAttempts(await objects.containers()).filter(({ container, pod }) => {
    if (inPod !== undefined && container.metadata?.name !== inPod) return false;
    return labels.every(([key, value]) => pod?.labels[key] === value);
  });
  if (found.length > 0) {
    return found.toSorted((a, b) => (containerPath(a) < containerPath(b) ? -1 : 1));
  }
  const what = labels.map(([key, value]) => `${key}=${value}`).join(", ");
  throw new CommandFailure(
    exitCode.notFound,
    `find containers of pods with label ${what}: not found; see "davit pods"`,
  );
}

/** The container of the same name and pod with the next lower attempt. */
async function containerBefore(found: PodContainer, objects: Objects): Promise<PodContainer> {
  const { podSandboxId, metadata } = found.container;
  const attempt = metadata?.attempt ?? 0;
  const [before] = (await objects.containers())
    .filter(({ container: other }) => {
      if (other.podSandboxId !== podSandboxId || other.metadata?.name !== metadata?.name)
        return false;
      return (other.metadata?.attempt ?? 0) < attempt;
    })
    .toSorted(
      (a, b) => (b.container.metadata?.attempt ?? 0) - (a.container.metadata?.attempt ?? 0),
    );
  if (before !== undefined) return before;
  throw new CommandFailure(
    exitCode.notFound,
    `find the container before "${containerPath(found)}": there is none, it is attempt ${attempt}` +
      (attempt === 0 ? "" : ", and those before are removed"),
  );
}

interface Selection {
  readonly sinceNs: bigint | undefined;
  readonly untilNs: bigint | undefined;
  /** Precedes each line if logs of several containers are printed. */
  readonly prefix?: string;
}

/** Prints a log until its end or until the signal is aborted. */
async function printLog(
  { options, terminal }: Call,
  server: Server,
  found: PodContainer,
  { prefix, ...times }: Selection,
): Promise<number> {
  const timestamps = options.has("timestamps");
  const before = prefix === undefined ? "" : `[${prefix}] `;
  const printer = new LogPrinter(
    terminal,
    ({ time }) => `${before}${timestamps ? `${time} ` : ""}`,
  );
  const joiner = prefix === undefined ? undefined : new LineJoiner();
  const wanted = {
    containerId: found.container.id,
    name: containerPath(found),
    tail: options.count("tail"),
    follow: options.has("follow"),
    ...times,
  };
  for await (const lines of containerLog(server, wanted, server.signal)) {
    printer.print(joiner === undefined ? lines : joiner.push(lines));
  }
  printer.print(joiner?.end() ?? []);
  return server.signal.aborted ? exitCode.interrupted : exitCode.done;
}

function readTime(call: Call, option: "since" | "until"): bigint | undefined {
  const text = call.options.text(option);
  if (text === undefined) return undefined;
  const ago = parseDurationMs(text);
  const ms = ago === undefined ? Date.parse(text) : Date.now() - ago;
  if (Number.isNaN(ms)) {
    throw call.options.invalid(
      option,
      `is "${text}": must be a duration or a time, such as 5m or 2026-01-31T12:00:00Z`,
    );
  }
  return BigInt(Math.max(0, Math.round(ms))) * 1_000_000n;
}

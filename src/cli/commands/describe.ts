import type { ContainerConfig, PodSandbox } from "../../gen/runtime/v1/api_pb.ts";
import type { Call, Command } from "../command-line/command.ts";
import { exitCode } from "../command-line/exit-code.ts";
import { readLog } from "../../linux/file/index.ts";
import { containerPath, containersOf, type PodContainer, podPath } from "../objects/find.ts";
import { imageName, imageNamesOf } from "../objects/image-name.ts";
import { Objects } from "../objects/objects.ts";
import { pick } from "../objects/pick.ts";
import { containerConfigOf, recordedContainer, recordedPod } from "../objects/recorded-config.ts";
import { containerStateName, isPaused } from "../objects/state.ts";
import { formatAge, formatBytes } from "../output/figures.ts";
import { indentedLines, printable } from "../output/printable.ts";
import { type Server, withServer } from "../server/session.ts";
import { stateName } from "../objects/state.ts";
import { addressLines } from "./port.ts";
import { typeOption } from "./stop.ts";
import { explain } from "./why.ts";

const tailLines = 5;
const logMs = 1_000;

/** `davit describe`. */
export const describe: Command = {
  name: "describe",
  section: "Inspection and debugging",
  summary:
    "Describe a pod or container: its status, its configuration, the end of its log and its history",
  details:
    "For people; davit inspect prints the same for programs. Values of variables are not shown. The history is that\n" +
    "of davit why.",
  operands: [{ name: "POD|CONTAINER", complete: "pod-or-container" }],
  options: { type: typeOption },
  examples: [
    { line: "davit describe web", does: "Describe a pod and its containers" },
    { line: "davit describe web/nginx", does: "Describe one container" },
  ],
  client: true,
  run: (call) => withServer(call, (server) => show(call, server)),
};

type Fact = readonly [string, string | readonly string[]];

async function show(call: Call, server: Server): Promise<number> {
  const [word = ""] = call.operands;
  const { terminal, options } = call;
  const type = options.text("type");
  const kinds = (["pod", "container"] as const).filter((kind) => (type ?? kind) === kind);
  const objects = new Objects(server);
  const found = await pick(word, kinds, objects);
  if (found.kind === "pod") terminal.out(formatFacts(await podFacts(found.pod, server), ""));
  const containers = containersOf(found, await objects.containers());
  const images = await imageNamesOf(objects);
  // Lists have the newest container first.
  for (const each of containers.toReversed()) {
    const facts = await containerFacts(each, images, server);
    terminal.out(`\n${terminal.style.bold(`Container ${printable(containerPath(each))}`)}\n`);
    terminal.out(formatFacts(facts, "  "));
  }
  terminal.out(`\n${terminal.style.bold("History")}\n`);
  const id = found.kind === "pod" ? found.pod.id : (containers[0]?.container.id ?? word);
  await explain({ ...call, operands: [id] }, server);
  return exitCode.done;
}

async function podFacts(pod: PodSandbox, server: Server): Promise<readonly Fact[]> {
  const { status } = await recordedPod(server, pod);
  return [
    ["Name", podPath(pod).split("/").slice(1).join("/")],
    ["Namespace", pod.metadata?.namespace ?? ""],
    ["ID", pod.id],
    ["UID", pod.metadata?.uid ?? ""],
    ["State", stateName(pod)],
    ["Created", formatAge(status.createdAt, Date.now())],
    ["Handler", status.runtimeHandler || "(default)"],
    ["Addresses", await addressLines(server, pod).catch(() => ["unknown"])],
    ["Labels", pairs(pod.labels)],
    ["Annotations", pairs(pod.annotations)],
  ];
}

async function containerFacts(
  found: PodContainer,
  images: ReadonlyMap<string, string>,
  server: Server,
): Promise<readonly Fact[]> {
  const { status, info } = await recordedContainer(server, found);
  const config = readable(() => containerConfigOf("describe", info));
  const now = Date.now();
  const exited = status.finishedAt > 0n;
  const how = [status.reason, status.message].filter((text) => text !== "").join(": ");
  return [
    ["ID", status.id],
    ["Image", imageName(status, images)],
    ["Image ID", status.imageId],
    ["State", containerStateName(status.state)],
    ["Paused", isPaused(status) ? status.message : ""],
    ["Attempt", String(status.metadata?.attempt ?? 0)],
    ["Created", formatAge(status.createdAt, now)],
    ["Started", formatAge(status.startedAt, now)],
    ["Exited", exited ? `${formatAge(status.finishedAt, now)} with code ${status.exitCode}` : ""],
    ["Reason", exited ? indentedLines(how) : ""],
    ["Command", [...(config?.command ?? []), ...(config?.args ?? [])].join(" ")],
    ["Variables", (config?.envs ?? []).map(({ key }) => key).join(", ")],
    ["Limits", limitsOf(config, status.resources?.linux)],
    ["Mounts", (config?.mounts ?? []).map(mountText)],
    ["Log", status.logPath],
    ["End of log", await lastLines(status.logPath)],
  ];
}

function readable<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined; // a server that does not report it: the description goes without it
  }
}

function limitsOf(
  config: ContainerConfig | undefined,
  now: NonNullable<ContainerConfig["linux"]>["resources"],
): string {
  const linux = now ?? config?.linux?.resources;
  if (linux === undefined) return "";
  const { memoryLimitInBytes, cpuQuota, cpuPeriod, unified } = linux;
  const cpus = cpuQuota > 0n && cpuPeriod > 0n ? Number(cpuQuota) / Number(cpuPeriod) : 0;
  const pids = unified["pids.max"];
  return [
    ...(cpus > 0 ? [`cpus ${cpus}`] : []),
    ...(memoryLimitInBytes > 0n ? [`memory ${formatBytes(memoryLimitInBytes)}`] : []),
    ...(pids === undefined ? [] : [`pids ${pids}`]),
  ].join(", ");
}

function mountText({
  containerPath: target,
  hostPath,
  image,
  readonly,
}: ContainerConfig["mounts"][number]): string {
  const source = image === undefined ? hostPath : `image ${image.image}`;
  return `${target} from ${source}${readonly ? " (read-only)" : ""}`;
}

function pairs(map: Readonly<Record<string, string>>): readonly string[] {
  return Object.entries(map).map(([key, value]) => `${key}=${value}`);
}

/** The last lines of a log on this machine; none if it cannot be read here. */
async function lastLines(path: string): Promise<readonly string[]> {
  if (path === "") return [];
  const lines: string[] = [];
  try {
    const signal = AbortSignal.timeout(logMs);
    for await (const batch of readLog(path, { tail: tailLines, signal }))
      lines.push(...batch.map(({ text }) => text.toString().trimEnd()));
  } catch {
    return ["(not readable here)"];
  }
  return lines;
}

/** A line for each fact, and for each value of a list; facts without a value are left out. */
function formatFacts(facts: readonly Fact[], indent: string): string {
  const width = Math.max(...facts.map(([key]) => key.length)) + 1;
  return facts
    .flatMap(([key, value]) => {
      const values = typeof value === "string" ? [value] : value;
      const shown = values.filter((text) => text !== "").map(printable);
      return shown.map((text, at) => {
        const title = at === 0 ? `${key}:` : "";
        return `${indent}${title.padEnd(width)}  ${text}\n`;
      });
    })
    .join("");
}

import type { JsonValue } from "@bufbuild/protobuf";
import {
  ContainerState,
  type ContainerStatus,
  PodSandboxState,
} from "../../gen/runtime/v1/api_pb.ts";
import type { Call, Command } from "../command-line/command.ts";
import { CommandFailure, exitCode } from "../command-line/exit-code.ts";
import { containerPath, podPath } from "../objects/find.ts";
import { Objects } from "../objects/objects.ts";
import { pick } from "../objects/pick.ts";
import { containerStateName, isPaused } from "../objects/state.ts";
import { readInfo } from "../output/cri-message.ts";
import { formatAge } from "../output/figures.ts";
import { indentedLines, printable } from "../output/printable.ts";
import type { Style } from "../output/terminal.ts";
import { doing } from "../server/explain.ts";
import { type Server, withServer } from "../server/session.ts";
import {
  type PastOperation,
  type InflightOperation,
  readHistory,
  readInflight,
} from "../../client/operations.ts";
import { formatInflight, formatWaterfall } from "../why/waterfall.ts";

/** `davit why`. */
export const why: Command = {
  name: "why",
  section: "Inspection and debugging",
  summary: "Explain the state and history of a pod or container",
  details:
    "Shows the state and its reason, the past operations as a waterfall of stages, the operation in progress\n" +
    "with its network plugin, and failures. For a pod that is being created or failed to be created, shows the\n" +
    "operations with its name. Only davit keeps a history, also across restarts; other servers report only the\n" +
    "state.",
  operands: [{ name: "OBJECT", complete: "pod-or-container" }],
  options: {},
  examples: [
    { line: "davit why web", does: "Explain a pod and its containers" },
    { line: "davit why web/nginx", does: "Explain a container" },
  ],
  client: true,
  run: (call) => withServer(call, (server) => explain(call, server)),
};

/** Prints the state and the history of the object that the call names. */
export async function explain(call: Call, server: Server): Promise<number> {
  const [word = ""] = call.operands;
  const objects = new Objects(server);
  const { terminal } = call;
  const about: Context = { server, style: terminal.style, news: await activityOf(server) };
  try {
    const found = await pick(word, ["pod", "container"], objects);
    if (found.kind === "container") {
      const title = `${terminal.style.bold("container")} ${printable(containerPath(found))}`;
      terminal.out(await aboutContainer(found.container.id, title, about));
    } else if (found.kind === "pod") {
      terminal.out(await aboutPod(found.pod.id, podPath(found.pod), about));
      // Lists have the newest container first; a history starts with the oldest.
      for (const each of (await objects.containers()).toReversed()) {
        if (each.container.podSandboxId !== found.pod.id) continue;
        const title = `${terminal.style.bold("container")} ${printable(each.container.metadata?.name ?? "")}`;
        terminal.out(`\n${await aboutContainer(each.container.id, title, about)}`);
      }
    }
  } catch (error) {
    if (!(error instanceof CommandFailure) || error.exitCode !== exitCode.notFound) throw error;
    const text = aboutName(word, about);
    if (text === "") throw error;
    terminal.out(text);
  }
  return exitCode.done;
}

/** Operations with a name that no pod or container has; "" if there are none. */
function aboutName(word: string, { style, news }: Context): string {
  const named = (subject: string): boolean => isAbout(subject, word);
  const present = news.inflight.filter(({ subject }) => named(subject));
  const failures = news.failures.filter(({ subject }) => named(subject));
  const parts: string[] = [];
  if (present.length > 0) {
    parts.push(`"${word}" does not exist yet; operations in progress with this name:\n`);
    parts.push(...present.map((each) => formatInflight(each, style)));
  }
  for (const name of news.held.filter(named)) {
    parts.push(
      `"${printable(name)}" is created, but its client has disconnected: the server keeps it for a retry of the\n` +
        "request, and removes it after retry_hold_seconds\n",
    );
  }
  for (const { name, sandbox, atMs } of news.leaseRemovals) {
    if (!named(name) && sandbox !== word) continue;
    const when = formatAge(BigInt(atMs) * 1_000_000n, Date.now());
    parts.push(`"${printable(name)}" was removed ${when} because its lease ended\n`);
  }
  if (failures.length > 0) {
    const begin = present.length > 0 ? "" : `"${word}" does not exist; `;
    parts.push(`${begin}failed operations with this name:\n`, waterfalls(failures, style));
  }
  return parts.join("\n");
}

/** What the functions below need besides the object. */
interface Context {
  readonly server: Server;
  readonly style: Style;
  readonly news: ServerActivity;
}

async function aboutPod(
  id: string,
  path: string,
  { server: { client, limit }, style, news }: Context,
): Promise<string> {
  const request = { podSandboxId: id, verbose: true };
  const answer = await doing(
    `get the status of pod "${id}"`,
    client.runtime.podSandboxStatus(request, limit()),
  );
  const info = factsOf(answer.info);
  const ready = answer.status?.state === PodSandboxState.SANDBOX_READY;
  const reason = typeof info["reason"] === "string" ? `: ${indentedLines(info["reason"])}` : "";
  const facts = [
    ready ? style.green("ready") : `${style.yellow("not ready")}${reason}`,
    `created ${formatAge(answer.status?.createdAt ?? 0n, Date.now())}`,
    ...(answer.status?.network?.ip ? [`address ${printable(answer.status.network.ip)}`] : []),
    ...ownIdsOf(info),
  ];
  const present = news.inflight.filter(({ subject }) => subject === id || isAbout(subject, path));
  return (
    section(`${style.bold("pod")} ${printable(path)}`, facts, info["history"], style) +
    inflightSection(present, style)
  );
}

/** What davit decided about the ids of a pod that did not ask for a user namespace. */
function ownIdsOf({ ownIds }: Readonly<Record<string, JsonValue>>): readonly string[] {
  if (typeof ownIds !== "object" || ownIds === null || Array.isArray(ownIds)) return [];
  const { range, reason } = ownIds;
  const why = typeof reason === "string" ? indentedLines(reason) : undefined;
  if (typeof range !== "object" || range === null || Array.isArray(range)) {
    return why === undefined ? [] : [`ids of the node: ${why}`];
  }
  const { hostId, length } = range;
  if (typeof hostId !== "number" || typeof length !== "number") return [];
  return [
    `ids of its own: ${hostId} to ${hostId + length - 1}`,
    ...(why === undefined ? [] : [`its next sandbox has the ids of the node: ${why}`]),
  ];
}

async function aboutContainer(
  id: string,
  title: string,
  { server: { client, limit }, style, news: { inflight } }: Context,
): Promise<string> {
  const request = { containerId: id, verbose: true };
  const answer = await doing(
    `get the status of container "${id}"`,
    client.runtime.containerStatus(request, limit()),
  );
  const info = factsOf(answer.info);
  const facts = answer.status === undefined ? [] : stateOf(answer.status, info, style);
  // The error of a failed start is part of the history already.
  const inHistory =
    readHistory(info["history"])?.map(({ error }) => indentedLines(error ?? "")) ?? [];
  const shown = facts.filter((fact) => !inHistory.includes(fact));
  const present = inflight.filter(({ subject }) => subject === id);
  return section(title, shown, info["history"], style) + inflightSection(present, style);
}

function stateOf(
  status: ContainerStatus,
  info: Readonly<Record<string, JsonValue>>,
  style: Style,
): readonly string[] {
  const now = Date.now();
  const name = containerStateName(status.state);
  switch (status.state) {
    case ContainerState.CONTAINER_RUNNING: {
      const pid = typeof info["pid"] === "number" ? [`pid ${info["pid"]}`] : [];
      const started = `started ${formatAge(status.startedAt, now)}`;
      return [
        isPaused(status) ? style.yellow(printable(status.message)) : style.green(name),
        started,
        ...pid,
        ...oomKillsOf(info, now, style),
        ...deniedCallsOf(info, style),
      ];
    }
    case ContainerState.CONTAINER_EXITED: {
      const paint = status.exitCode === 0 ? style.yellow : style.red;
      const code = `${printable(status.reason)} with code ${status.exitCode}`;
      const message = status.message === "" ? [] : [indentedLines(status.message)];
      const kills = oomKillsOf(info, now, style);
      return [
        paint(name),
        code,
        formatAge(status.finishedAt, now),
        ...message,
        ...kills,
        ...deniedCallsOf(info, style),
      ];
    }
    case ContainerState.CONTAINER_CREATED:
    case ContainerState.CONTAINER_UNKNOWN:
    default:
      return [style.yellow(name), `created ${formatAge(status.createdAt, now)}, not started`];
  }
}

/** The processes that were killed while the container continued to run, which only davit reports. */
function oomKillsOf(
  { oomKills }: Readonly<Record<string, JsonValue>>,
  now: number,
  style: Style,
): readonly string[] {
  if (typeof oomKills !== "object" || oomKills === null || Array.isArray(oomKills)) return [];
  const { count, lastMs } = oomKills;
  if (typeof count !== "number") return [];
  const what = `${count} process${count === 1 ? "" : "es"} killed: out of memory`;
  const isKnown = Number.isSafeInteger(lastMs);
  const last = isKnown ? `, last ${formatAge(BigInt(Number(lastMs)) * 1_000_000n, now)}` : "";
  return [style.red(`${what}${last}`)];
}

/** The system calls that the seccomp notifier saw. */
function deniedCallsOf(
  { deniedCalls }: Readonly<Record<string, JsonValue>>,
  style: Style,
): readonly string[] {
  if (typeof deniedCalls !== "object" || deniedCalls === null || Array.isArray(deniedCalls)) {
    return [];
  }
  const calls = Object.entries(deniedCalls).map(
    ([name, count]) => `${printable(name)} (${Number(count)} times)`,
  );
  if (calls.length === 0) return [];
  return [style.red(`denied by its seccomp filter: ${calls.join(", ")}`)];
}

function section(
  title: string,
  facts: readonly string[],
  history: JsonValue | undefined,
  style: Style,
): string {
  const past = readHistory(history);
  const heading = `${title}  ${facts.filter((fact) => fact !== "").join(", ")}\n`;
  if (past === undefined) return `${heading}  this server does not report a history\n`;
  if (past.length === 0) return `${heading}  no operations are known\n`;
  return heading + indent(waterfalls(past, style));
}

function waterfalls(past: readonly PastOperation[], style: Style): string {
  return past.map((each) => formatWaterfall(each, Date.now(), style)).join("\n");
}

function indent(text: string): string {
  return text.replace(/^(?=.)/gm, "  ");
}

function inflightSection(present: readonly InflightOperation[], style: Style): string {
  return present.map((each) => `\n${indent(formatInflight(each, style))}`).join("");
}

/** The operations of the server, which only davit reports. */
interface ServerActivity {
  readonly inflight: readonly InflightOperation[];
  /** Names of pods and containers that are created, but whose clients have disconnected. */
  readonly held: readonly string[];
  readonly failures: readonly PastOperation[];
  readonly leaseRemovals: readonly LeaseRemoval[];
}

/** A pod that davit removed because its lease ended. */
interface LeaseRemoval {
  readonly name: string;
  readonly sandbox: string;
  readonly atMs: number;
}

async function activityOf({ client, limit }: Server): Promise<ServerActivity> {
  const call = client.runtime.status({ verbose: true }, limit());
  const info = readInfo((await doing("get the server's status", call)).info);
  const held = info["heldCreates"];
  return {
    inflight: readInflight(info["inflight"], Date.now()),
    held: Array.isArray(held) ? held.filter((name) => typeof name === "string") : [],
    failures: readHistory(info["lastFailures"]) ?? [],
    leaseRemovals: readLeaseRemovals(info["leaseRemovals"]),
  };
}

function readLeaseRemovals(value: JsonValue | undefined): readonly LeaseRemoval[] {
  if (!Array.isArray(value)) return [];
  return value.flatMap((each) => {
    if (typeof each !== "object" || each === null || Array.isArray(each)) return [];
    const { name, sandbox, atMs } = each;
    if (typeof name !== "string" || typeof sandbox !== "string") return [];
    return Number.isSafeInteger(atMs) ? [{ name, sandbox, atMs: Number(atMs) }] : [];
  });
}

/**
 * Whether a word names a subject: an id, or davit's name of a pod (NAME_NAMESPACE_UID_ATTEMPT)
 * or container (NAME_POD_NAMESPACE_UID_ATTEMPT) that contains all parts of the word.
 */
function isAbout(subject: string, word: string): boolean {
  const names = subject.split("_");
  return subject === word || word.split("/").every((part) => names.includes(part));
}

/** The verbose info of containers and pods, which is a JSON text under the key "info". */
function factsOf(info: Readonly<Record<string, string>>): Readonly<Record<string, JsonValue>> {
  const { info: own } = readInfo(info);
  return typeof own === "object" && own !== null && !Array.isArray(own) ? own : {};
}

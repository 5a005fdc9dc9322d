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
import { containerStateName } from "../objects/state.ts";
import { readInfo } from "../output/cri-message.ts";
import { formatAge } from "../output/figures.ts";
import type { Style } from "../output/terminal.ts";
import { doing } from "../server/explain.ts";
import { type Server, withServer } from "../server/session.ts";
import { type Past, type Present, readHistory, readInflight } from "../why/past.ts";
import { formatPresent, formatWaterfall } from "../why/waterfall.ts";

/** `davit why`. */
export const why: Command = {
  name: "why",
  section: "Look inside",
  summary: "Say what state a pod or container is in, and how it came to that",
  details:
    "Its state with the reason, what was done to it as a waterfall of phases, what is being done to it\n" +
    "now, with the network plugin that runs, and its failures. For a pod that is being made, or never\n" +
    "came to be: what the server does and what failed under that name. The phases are known to the\n" +
    "davit that did them; after its restart, and of other servers, only states are there.",
  operands: [{ name: "OBJECT", complete: "pod-or-container" }],
  options: {},
  examples: [
    { line: "davit why web", does: "A pod with its containers" },
    { line: "davit why web/nginx", does: "One container" },
  ],
  client: true,
  run: (call) => withServer(call, (server) => tell(call, server)),
};

async function tell(call: Call, server: Server): Promise<number> {
  const [word = ""] = call.operands;
  const objects = new Objects(server);
  const { terminal } = call;
  const about: About = { server, style: terminal.style, news: await newsOf(server) };
  try {
    const found = await pick(word, ["pod", "container"], objects);
    if (found.kind === "container") {
      const title = `${terminal.style.bold("container")} ${containerPath(found)}`;
      terminal.out(await aboutContainer(found.container.id, title, about));
    } else if (found.kind === "pod") {
      terminal.out(await aboutPod(found.pod.id, podPath(found.pod), about));
      // The newest is listed first; a story begins with the oldest.
      for (const each of (await objects.containers()).toReversed()) {
        if (each.container.podSandboxId !== found.pod.id) continue;
        const title = `${terminal.style.bold("container")} ${each.container.metadata?.name ?? ""}`;
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

/** What is known of a name that no pod or container has: "" for nothing. */
function aboutName(word: string, { style, news }: About): string {
  const named = (subject: string): boolean => isAbout(subject, word);
  const present = news.inflight.filter(({ subject }) => named(subject));
  const failures = news.failures.filter(({ subject }) => named(subject));
  const parts: string[] = [];
  if (present.length > 0) {
    parts.push(`there is no "${word}" yet; what is being done under this name:\n`);
    parts.push(...present.map((each) => formatPresent(each, style)));
  }
  for (const name of news.held.filter(named)) {
    parts.push(
      `"${name}" is made, but its caller went away: the server hands it to the same request when\n` +
        "that comes again, and takes it away when none comes within retry_hold_seconds\n",
    );
  }
  if (failures.length > 0) {
    const begin = present.length > 0 ? "what" : `there is no "${word}"; what`;
    parts.push(`${begin} failed under this name:\n`, waterfalls(failures, style));
  }
  return parts.join("\n");
}

/** What the texts about one object need. */
interface About {
  readonly server: Server;
  readonly style: Style;
  readonly news: News;
}

async function aboutPod(
  id: string,
  path: string,
  { server: { client, limit }, style, news }: About,
): Promise<string> {
  const request = { podSandboxId: id, verbose: true };
  const answer = await doing(
    `ask about pod "${id}"`,
    client.runtime.podSandboxStatus(request, limit()),
  );
  const info = factsOf(answer.info);
  const ready = answer.status?.state === PodSandboxState.SANDBOX_READY;
  const reason = typeof info["reason"] === "string" ? `: ${info["reason"]}` : "";
  const facts = [
    ready ? style.green("ready") : `${style.yellow("not ready")}${reason}`,
    `made ${formatAge(answer.status?.createdAt ?? 0n, Date.now())}`,
    ...(answer.status?.network?.ip ? [`address ${answer.status.network.ip}`] : []),
  ];
  const present = news.inflight.filter(({ subject }) => subject === id || isAbout(subject, path));
  return (
    section(`${style.bold("pod")} ${path}`, facts, info["history"], style) +
    presentSection(present, style)
  );
}

async function aboutContainer(
  id: string,
  title: string,
  { server: { client, limit }, style, news: { inflight } }: About,
): Promise<string> {
  const request = { containerId: id, verbose: true };
  const answer = await doing(
    `ask about container "${id}"`,
    client.runtime.containerStatus(request, limit()),
  );
  const info = factsOf(answer.info);
  const facts = answer.status === undefined ? [] : stateOf(answer.status, info, style);
  // A start that failed says the same, at its place in the history.
  const told = readHistory(info["history"])?.map(({ error }) => error) ?? [];
  const untold = facts.filter((fact) => !told.includes(fact));
  const present = inflight.filter(({ subject }) => subject === id);
  return section(title, untold, info["history"], style) + presentSection(present, style);
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
      return [style.green(name), `started ${formatAge(status.startedAt, now)}`, ...pid];
    }
    case ContainerState.CONTAINER_EXITED: {
      const paint = status.exitCode === 0 ? style.yellow : style.red;
      const code = `${status.reason} with code ${status.exitCode}`;
      const message = status.message === "" ? [] : [status.message];
      return [paint(name), code, formatAge(status.finishedAt, now), ...message];
    }
    case ContainerState.CONTAINER_CREATED:
    case ContainerState.CONTAINER_UNKNOWN:
    default:
      return [style.yellow(name), `made ${formatAge(status.createdAt, now)}, not started`];
  }
}

function section(
  title: string,
  facts: readonly string[],
  history: JsonValue | undefined,
  style: Style,
): string {
  const past = readHistory(history);
  const heading = `${title}  ${facts.filter((fact) => fact !== "").join(", ")}\n`;
  if (past === undefined) return `${heading}  this server tells nothing of what was done to it\n`;
  if (past.length === 0) return `${heading}  what was done to it was before this server's start\n`;
  return heading + indent(waterfalls(past, style));
}

function waterfalls(past: readonly Past[], style: Style): string {
  return past.map((each) => formatWaterfall(each, Date.now(), style)).join("\n");
}

function indent(text: string): string {
  return text.replace(/^(?=.)/gm, "  ");
}

function presentSection(present: readonly Present[], style: Style): string {
  return present.map((each) => `\n${indent(formatPresent(each, style))}`).join("");
}

/** What the server tells beside its objects: nothing of it where it is not davit. */
interface News {
  readonly inflight: readonly Present[];
  /** Names of pods and containers that are made, and whose callers went away. */
  readonly held: readonly string[];
  readonly failures: readonly Past[];
}

async function newsOf({ client, limit }: Server): Promise<News> {
  const call = client.runtime.status({ verbose: true }, limit());
  const info = readInfo((await doing("ask what is being done", call)).info);
  const held = info["heldCreates"];
  return {
    inflight: readInflight(info["inflight"], Date.now()),
    held: Array.isArray(held) ? held.filter((name) => typeof name === "string") : [],
    failures: readHistory(info["lastFailures"]) ?? [],
  };
}

/**
 * Whether a subject is what the word names: an id, or davit's name of a pod (NAME_NAMESPACE_UID_ATTEMPT)
 * or container (NAME_POD_NAMESPACE_UID_ATTEMPT) that has all parts of the word.
 */
function isAbout(subject: string, word: string): boolean {
  const names = subject.split("_");
  return subject === word || word.split("/").every((part) => names.includes(part));
}

/** Containers' and pods' verbose info is one JSON text under the key "info". */
function factsOf(info: Readonly<Record<string, string>>): Readonly<Record<string, JsonValue>> {
  const { info: own } = readInfo(info);
  return typeof own === "object" && own !== null && !Array.isArray(own) ? own : {};
}

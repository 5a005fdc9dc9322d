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
import { type Past, readHistory } from "../why/past.ts";
import { formatWaterfall } from "../why/waterfall.ts";

/** `davit why`. */
export const why: Command = {
  name: "why",
  section: "Look inside",
  summary: "Say what state a pod or container is in, and how it came to that",
  details:
    "Its state with the reason, what was done to it as a waterfall of phases, and its failures.\n" +
    "For a pod that never came to be: the server's last failures of that name. The phases are known\n" +
    "to the davit that did them; after its restart, and of other servers, only states are there.",
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
  const { style } = call.terminal;
  try {
    const found = await pick(word, ["pod", "container"], objects);
    if (found.kind === "container") {
      const title = `${style.bold("container")} ${containerPath(found)}`;
      call.terminal.out(await aboutContainer(found.container.id, title, server, style));
    } else if (found.kind === "pod") {
      call.terminal.out(await aboutPod(found.pod.id, podPath(found.pod), server, style));
      // The newest is listed first; a story begins with the oldest.
      for (const each of (await objects.containers()).toReversed()) {
        if (each.container.podSandboxId !== found.pod.id) continue;
        const title = `${style.bold("container")} ${each.container.metadata?.name ?? ""}`;
        call.terminal.out(`\n${await aboutContainer(each.container.id, title, server, style)}`);
      }
    }
  } catch (error) {
    if (!(error instanceof CommandFailure) || error.exitCode !== exitCode.notFound) throw error;
    const failures = await failuresOf(word, server);
    if (failures.length === 0) throw error;
    call.terminal.out(`there is no "${word}"; what failed under this name:\n\n`);
    call.terminal.out(waterfalls(failures, style));
  }
  return exitCode.done;
}

async function aboutPod(
  id: string,
  path: string,
  { client, limit }: Server,
  style: Style,
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
  return section(`${style.bold("pod")} ${path}`, facts, info["history"], style);
}

async function aboutContainer(
  id: string,
  title: string,
  { client, limit }: Server,
  style: Style,
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
  const news = facts.filter((fact) => !told.includes(fact));
  return section(title, news, info["history"], style);
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

/** The server's last failures whose subject has the word as one of its parts: a pod that never was. */
async function failuresOf(word: string, { client, limit }: Server): Promise<readonly Past[]> {
  const call = client.runtime.status({ verbose: true }, limit());
  const { info } = await doing("ask for the last failures", call);
  const failures = readHistory(readInfo(info)["lastFailures"]) ?? [];
  const parts = word.split("/");
  return failures.filter(({ subject }) => {
    const names = subject.split("_");
    return subject === word || parts.every((part) => names.includes(part));
  });
}

/** Containers' and pods' verbose info is one JSON text under the key "info". */
function factsOf(info: Readonly<Record<string, string>>): Readonly<Record<string, JsonValue>> {
  const { info: own } = readInfo(info);
  return typeof own === "object" && own !== null && !Array.isArray(own) ? own : {};
}

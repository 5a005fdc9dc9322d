import { type PodSandbox, PodSandboxState } from "../../gen/runtime/v1/api_pb.ts";
import { type Call, type Command, formatOperands } from "../command-line/command.ts";
import { UsageError } from "../command-line/usage-error.ts";
import { forEach, type Task } from "../lifecycle/each.ts";
import { GracePeriodLines } from "../lifecycle/grace.ts";
import { stopContainer, stopPod } from "../lifecycle/stop.ts";
import { podPath } from "../objects/find.ts";
import { Objects } from "../objects/objects.ts";
import { type Found, type Kind, pick } from "../objects/pick.ts";
import { type Server, withServer } from "../server/session.ts";

/** The kinds of objects that stop and rm accept. */
const stoppable: readonly Kind[] = ["pod", "container"];

/** The option that distinguishes pods and containers of the same name. */
export const typeOption = {
  value: "KIND",
  doc: "Kind of the objects, if their names are ambiguous",
  complete: stoppable,
} as const;

/** `davit stop`. */
export const stop: Command = {
  name: "stop",
  section: "Pods and containers",
  summary: "Stop pods or containers",
  details:
    "A container gets its stop signal, and SIGKILL after the grace period: that of its manifest, else 10 s.\n" +
    "A pod is stopped with all of its containers and releases its address. It is listed until davit rm.",
  operands: [{ name: "POD|CONTAINER", many: true, optional: true, complete: "pod-or-container" }],
  options: {
    all: { short: "a", doc: "Stop all pods" },
    time: { short: "t", value: "SECONDS", doc: "Grace period; 0 kills immediately" },
    type: typeOption,
  },
  examples: [
    { line: "davit stop web", does: "Stop a pod or a container" },
    { line: "davit stop -t 0 web/nginx", does: "Kill one container" },
    { line: "davit stop -a", does: "Stop all pods" },
  ],
  client: true,
  run: (call) => withServer(call, (server) => stopAll(call, server)),
};

async function stopAll(call: Call, server: Server): Promise<number> {
  checkOperands(call, call.options.has("all") ? "all" : undefined, stop);
  const seconds = call.options.count("time");
  const objects = new Objects(server);
  const found = call.options.has("all")
    ? await readyPods(call, objects)
    : await findAll(call, objects);
  const containers = (await objects.containers()).map(({ container }) => container);
  using grace = new GracePeriodLines(call.terminal);
  const options = { seconds, grace };
  const tasks = found.map(({ word, ...object }): Task => {
    const work = async (): Promise<void> => {
      if (object.kind === "pod") await stopPod(server, object.pod, containers, options);
      if (object.kind === "container") await stopContainer(server, object, options);
    };
    return { name: word, work };
  });
  return await forEach(call, tasks, grace.lines);
}

/** An object of a command, and the word that names it. */
export type Named = Found & { readonly word: string };

/** Throws a UsageError if there are both operands and an option for all objects, or neither. */
export function checkOperands({ operands }: Call, all: string | undefined, command: Command): void {
  if ((all !== undefined) !== operands.length > 0) return;
  const what = formatOperands(command).replace(/[[\].]/g, "");
  const problem =
    all === undefined ? `${what} is missing` : `--${all} must not be combined with ${what}`;
  throw new UsageError(problem, command);
}

/** A pod with its path. */
export function namedPod(pod: PodSandbox): Named {
  return { kind: "pod", pod, word: podPath(pod) };
}

async function readyPods(call: Call, objects: Objects): Promise<readonly Named[]> {
  if (call.options.text("type") === "container") {
    throw call.options.invalid("type", "is container: --all stops all pods with their containers");
  }
  const pods = await objects.pods();
  return pods.filter(({ state }) => state === PodSandboxState.SANDBOX_READY).map(namedPod);
}

/** Resolves all operands before anything is done to the first one. */
export async function findAll(call: Call, objects: Objects): Promise<readonly Named[]> {
  const type = call.options.text("type");
  const kinds = stoppable.filter((kind) => type === undefined || type === kind);
  const found: Named[] = [];
  for (const word of new Set(call.operands)) {
    found.push({ ...(await pick(word, kinds, objects)), word });
  }
  return found;
}

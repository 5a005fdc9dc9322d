import type { Call, Command } from "../command-line/command.ts";
import { forEach, type Task } from "../lifecycle/each.ts";
import { GracePeriodLines } from "../lifecycle/grace.ts";
import { stopContainer, stopPod } from "../lifecycle/stop.ts";
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
  operands: [{ name: "POD|CONTAINER", many: true, complete: "pod-or-container" }],
  options: {
    time: { short: "t", value: "SECONDS", doc: "Grace period; 0 kills immediately" },
    type: typeOption,
  },
  examples: [
    { line: "davit stop web", does: "Stop a pod or a container" },
    { line: "davit stop -t 0 web/nginx", does: "Kill one container" },
  ],
  client: true,
  run: (call) => withServer(call, (server) => stopAll(call, server)),
};

async function stopAll(call: Call, server: Server): Promise<number> {
  const seconds = call.options.count("time");
  const objects = new Objects(server);
  const found = await findAll(call, objects);
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

/** Resolves all operands before anything is done to the first one. */
export async function findAll(
  call: Call,
  objects: Objects,
): Promise<readonly (Found & { readonly word: string })[]> {
  const type = call.options.text("type");
  const kinds = stoppable.filter((kind) => type === undefined || type === kind);
  const found: (Found & { readonly word: string })[] = [];
  for (const word of new Set(call.operands)) {
    found.push({ ...(await pick(word, kinds, objects)), word });
  }
  return found;
}

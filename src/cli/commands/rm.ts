import { ContainerState, PodSandboxState } from "../../gen/runtime/v1/api_pb.ts";
import type { Call, Command } from "../command-line/command.ts";
import { forEach, requiresForce, type Task } from "../lifecycle/each.ts";
import { GracePeriodLines } from "../lifecycle/grace.ts";
import { podsDirectoryOption, podsRootOf } from "../lifecycle/read-manifests.ts";
import { removeContainer, removePod, stopContainer, stopPod } from "../lifecycle/stop.ts";
import { removeOwnDirectory } from "../lifecycle/volumes.ts";
import { containerPath, podPath } from "../objects/find.ts";
import { Objects } from "../objects/objects.ts";
import type { Found } from "../objects/pick.ts";
import { type Server, withServer } from "../server/session.ts";
import { checkOperands, findAll, type Named, namedPod, typeOption } from "./stop.ts";

/** `davit rm`. */
export const rm: Command = {
  name: "rm",
  section: "Pods and containers",
  summary: "Remove pods or containers",
  details:
    "Removes a pod with its containers, and with the logs and emptyDir volumes of davit run. Ready pods\n" +
    "and running containers require --force, which stops them first, with their grace period.",
  operands: [{ name: "POD|CONTAINER", many: true, optional: true, complete: "pod-or-container" }],
  options: {
    force: { short: "f", doc: "Stop pods and containers before removing them" },
    time: { short: "t", value: "SECONDS", doc: "Grace period for --force; 0 kills immediately" },
    all: { short: "a", doc: "Remove all pods; those that are ready require --force" },
    stopped: { doc: "Remove all pods that are not ready, and all exited containers" },
    type: typeOption,
    "pods-directory": podsDirectoryOption,
  },
  examples: [
    { line: "davit rm web", does: "Remove a stopped pod" },
    { line: "davit rm -f web", does: "Stop and remove a pod" },
    { line: "davit rm -af -t 0", does: "Kill and remove all pods" },
    { line: "davit rm --stopped", does: "Remove everything that is not running" },
  ],
  client: true,
  run: (call) => withServer(call, (server) => removeAll(call, server)),
};

async function removeAll(call: Call, server: Server): Promise<number> {
  const objects = new Objects(server);
  const all = (["all", "stopped"] as const).find((name) => call.options.has(name));
  checkOperands(call, all, rm);
  const found = await chosen(call, objects, all);
  const force = call.options.has("force");
  const seconds = call.options.count("time");
  const containers = (await objects.containers()).map(({ container }) => container);
  const podsRoot = podsRootOf(call);
  using grace = new GracePeriodLines(call.terminal);
  const options = { seconds, grace };
  const tasks = found.map(({ word, ...object }): Task => {
    const work = async (): Promise<void> => {
      if (!force) refuseRunning(object);
      if (object.kind === "pod") {
        if (force) await stopPod(server, object.pod, containers, options);
        await removePod(server, object.pod);
        if (object.pod.metadata) await removeOwnDirectory(podsRoot, object.pod.metadata);
      }
      if (object.kind === "container") {
        if (force) await stopContainer(server, object, options);
        await removeContainer(server, object);
      }
    };
    return { name: word, work };
  });
  return await forEach(call, tasks, grace.lines);
}

/** The objects of the operands, or all of them, or those that are stopped. */
async function chosen(
  call: Call,
  objects: Objects,
  all: "all" | "stopped" | undefined,
): Promise<readonly Named[]> {
  if (all === undefined) return await findAll(call, objects);
  const pods = (await objects.pods()).filter(
    ({ state }) => all === "all" || state !== PodSandboxState.SANDBOX_READY,
  );
  const gone = new Set(pods.map(({ id }) => id));
  const containers = (await objects.containers()).filter(
    ({ container }) =>
      (all === "all" || container.state === ContainerState.CONTAINER_EXITED) &&
      !gone.has(container.podSandboxId),
  );
  return [
    ...pods.map(namedPod),
    ...containers.map((each) => ({
      kind: "container" as const,
      ...each,
      word: containerPath(each),
    })),
  ];
}

function refuseRunning(object: Found): void {
  if (object.kind === "pod" && object.pod.state === PodSandboxState.SANDBOX_READY) {
    throw requiresForce(
      `remove pod "${podPath(object.pod)}": it is ready; stop it first, or use --force`,
    );
  }
  if (object.kind === "container" && object.container.state === ContainerState.CONTAINER_RUNNING) {
    throw requiresForce(
      `remove container "${containerPath(object)}": it is running; stop it first, or use --force`,
    );
  }
}
